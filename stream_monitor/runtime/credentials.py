"""librdkafka's security settings, for Faust's side of the connection."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import faust


def faust_credentials(librdkafka: Mapping[str, str | int | float | bool]) -> object | None:
    """Credentials that say the same as ``security.protocol`` and its companions.

    ``None`` for plain text.

    Raises:
        ValueError: a protocol or mechanism the group membership cannot speak.
    """
    text = {key: str(value) for key, value in librdkafka.items()}
    protocol = text.get("security.protocol", "PLAINTEXT").upper()
    if protocol == "PLAINTEXT":
        return None
    context = _context(text) if protocol.endswith("SSL") else None
    if protocol == "SSL":
        return faust.SSLCredentials(context=context)
    if protocol not in ("SASL_SSL", "SASL_PLAINTEXT"):
        raise ValueError(f"security.protocol {protocol} is not known")
    mechanism = text.get("sasl.mechanism", text.get("sasl.mechanisms", "PLAIN")).upper()
    if mechanism not in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
        raise ValueError(f"sasl.mechanism {mechanism} is not supported")
    return faust.SASLCredentials(
        username=text.get("sasl.username", ""),
        password=text.get("sasl.password", ""),
        ssl_context=context,
        mechanism=mechanism,
    )


def _context(text: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=text.get("ssl.ca.location"))
    if "ssl.certificate.location" in text:
        context.load_cert_chain(
            text["ssl.certificate.location"],
            text.get("ssl.key.location"),
            text.get("ssl.key.password"),
        )
    if text.get("ssl.endpoint.identification.algorithm") == "none":
        context.check_hostname = False
    return context
