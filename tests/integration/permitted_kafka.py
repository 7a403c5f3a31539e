"""A Kafka with authorization: each user has the granted permissions and no others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from driftline.stack.apache_kafka import ApacheKafka, fetch_jars
from driftline.stack.server_process import free_port
from driftline.stack.temporary_folder import temporary_folder

HOST: Final = "127.0.0.1"
PASSWORD: Final = "secret"  # noqa: S105 - of a broker that lives for a test
ANSWER_S: Final = 20


class Permission(NamedTuple):
    """An operation on a topic, or on a group."""

    operation: str
    name: str
    group: bool = False


@dataclass(frozen=True)
class PermittedKafka:
    """``open_at`` permits everything; at ``address`` users log in, and need permissions."""

    open_at: str
    address: str

    def login(self, user: str) -> dict[str, str | int | float | bool]:
        """The settings of librdkafka for a user."""
        return {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": user,
            "sasl.password": PASSWORD,
        }

    def grant(self, user: str, permissions: Iterable[Permission]) -> None:
        """Let a user do something."""
        admin = AdminClient({"bootstrap.servers": self.open_at})
        for done in admin.create_acls([_binding(user, one) for one in permissions]).values():
            done.result(ANSWER_S)

    def deny(self, user: str, permissions: Iterable[Permission]) -> None:
        """Take back what was granted."""
        admin = AdminClient({"bootstrap.servers": self.open_at})
        filters = [_filter(_binding(user, one)) for one in permissions]
        for done in admin.delete_acls(filters).values():
            done.result(ANSWER_S)


def _filter(made: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        made.restype,
        made.name,
        made.resource_pattern_type,
        made.principal,
        made.host,
        made.operation,
        made.permission_type,
    )


def _binding(user: str, permission: Permission) -> Any:
    kind = ResourceType.GROUP if permission.group else ResourceType.TOPIC
    return AclBinding(
        kind,
        permission.name,
        ResourcePatternType.LITERAL,
        f"User:{user}",
        "*",
        AclOperation[permission.operation.upper()],
        AclPermissionType.ALLOW,
    )


@contextlib.contextmanager
def permitted_kafka(users: Iterable[str]) -> Iterator[PermittedKafka]:
    """One node with an authorizer, and a listener for passwords."""
    fetch_jars()
    with temporary_folder("stack") as folder:
        kafka = ApacheKafka(folder)
        address = f"{HOST}:{free_port()}"
        written = kafka._properties.read_text().splitlines()
        lines = dict(one.split("=", 1) for one in written)
        logins = " ".join(f'user_{user}="{PASSWORD}"' for user in users)
        lines |= {
            "listeners": f"{lines['listeners']},PASSWORD://{address}",
            "advertised.listeners": f"{lines['advertised.listeners']},PASSWORD://{address}",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            "PASSWORD:SASL_PLAINTEXT",
            "listener.name.password.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.password.plain.sasl.jaas.config": "org.apache.kafka.common.security."
            f"plain.PlainLoginModule required {logins};",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }
        kafka._properties.write_text("".join(f"{k}={v}\n" for k, v in lines.items()))
        try:
            kafka.start()
            yield PermittedKafka(kafka.bootstrap_servers, address)
        finally:
            kafka.stop()
