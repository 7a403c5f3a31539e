"""A Kafka that requires TLS and a password or a client certificate."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import trustme
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import serialization

from driftline.stack.apache_kafka import ApacheKafka, fetch_jars
from driftline.stack.server_process import free_port
from driftline.stack.temporary_folder import temporary_folder

USER: Final = "driftline"
PASSWORD: Final = 'it\'s a "secret"'  # noqa: S105 - of a broker that lives for a test
HOST: Final = "127.0.0.1"

Settings: TypeAlias = dict[str, str | int | float | bool]


class SecuredKafka(NamedTuple):
    """The open address, for set-up and inspection, and the addresses that need credentials.

    ``doors`` are, by name, an address and librdkafka's settings for it.
    """

    open_at: str
    doors: dict[str, tuple[str, Settings]]
    folder: Path


@contextlib.contextmanager
def secured_kafka() -> Iterator[SecuredKafka]:
    """One node with a listener for passwords and one for certificates."""
    fetch_jars()
    with temporary_folder("stack") as folder:
        ca = trustme.CA()
        for name in ("server", "client", "stranger"):
            issuer = trustme.CA() if name == "stranger" else ca
            _write(issuer.issue_cert(HOST), folder / f"{name}.pem")
        ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        trustme.CA().cert_pem.write_to_path(str(folder / "other-ca.pem"))
        kafka = ApacheKafka(folder)
        by_password, by_certificate = free_port(), free_port()
        _add_listeners(kafka, folder, by_password, by_certificate)
        try:
            kafka.start()
            _let_in(kafka.bootstrap_servers)
            trusted: Settings = {"ssl.ca.location": str(folder / "ca.pem")}
            password = trusted | {
                "security.protocol": "SASL_SSL",
                "sasl.username": USER,
                "sasl.password": PASSWORD,
            }
            pem = str(folder / "client.pem")
            certificate = trusted | {
                "security.protocol": "SSL",
                "ssl.certificate.location": pem,
                "ssl.key.location": pem,
            }
            yield SecuredKafka(
                kafka.bootstrap_servers,
                {
                    "PLAIN": (f"{HOST}:{by_password}", password | {"sasl.mechanism": "PLAIN"}),
                    "SCRAM": (
                        f"{HOST}:{by_password}",
                        password | {"sasl.mechanism": "SCRAM-SHA-512"},
                    ),
                    "certificate": (f"{HOST}:{by_certificate}", certificate),
                },
                folder,
            )
        finally:
            kafka.stop()


def _write(certificate: trustme.LeafCert, path: Path) -> None:
    """Key and chain in one file, the key as Java reads one."""
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    lines = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(lines + b"".join(pem.bytes() for pem in certificate.cert_chain_pems))


def _add_listeners(kafka: ApacheKafka, folder: Path, by_password: int, by_certificate: int) -> None:
    """To the properties of a node that was not started yet."""
    written = kafka._properties.read_text().splitlines()
    lines = dict(one.split("=", 1) for one in written)
    doors = f"PASSWORD://{HOST}:{by_password},CERTIFICATE://{HOST}:{by_certificate}"
    login = "org.apache.kafka.common.security"
    quoted = PASSWORD.replace('"', '\\\\"')
    lines |= {
        "listeners": f"{lines['listeners']},{doors}",
        "advertised.listeners": f"{lines['advertised.listeners']},{doors}",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
        "PASSWORD:SASL_SSL,CERTIFICATE:SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "server.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "ca.pem"),
        "listener.name.certificate.ssl.client.auth": "required",
        "listener.name.password.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "listener.name.password.plain.sasl.jaas.config": f"{login}.plain.PlainLoginModule required "
        f'user_{USER}="{quoted}";',
        "listener.name.password.scram-sha-512.sasl.jaas.config": f"{login}.scram.ScramLoginModule "
        "required;",
    }
    kafka._properties.write_text("".join(f"{k}={v}\n" for k, v in lines.items()))


def _let_in(open_at: str) -> None:
    """SCRAM's users are kept by the broker."""
    admin = AdminClient({"bootstrap.servers": open_at})
    known = UserScramCredentialUpsertion(
        USER, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4_096), PASSWORD.encode()
    )
    for done in admin.alter_user_scram_credentials([known]).values():
        done.result(20)
