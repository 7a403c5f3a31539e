"""librdkafka's security settings, for Faust's side of the connection."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import faust

_ELSEWHERE: Final = {
    "ssl.certificate.pem": "ssl.certificate.location",
    "ssl.key.pem": "ssl.key.location",
    "ssl.keystore.location": "ssl.certificate.location and ssl.key.location",
}
"""What librdkafka takes and Python's ``ssl`` does not, and what both do."""


def faust_credentials(librdkafka: Mapping[str, str | int | float | bool]) -> object | None:
    """Credentials that say the same as ``security.protocol`` and its companions.

    ``None`` for plain text.

    Raises:
        ValueError: a protocol, mechanism or setting that the group membership cannot speak.
        OSError: a certificate or key does not read as one.
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
        raise ValueError(
            f"sasl.mechanism {mechanism} is not supported: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
        )
    return faust.SASLCredentials(
        username=text.get("sasl.username", ""),
        password=text.get("sasl.password", ""),
        ssl_context=context,
        mechanism=mechanism,
    )


def _context(text: Mapping[str, str]) -> ssl.SSLContext:
    for name, instead in _ELSEWHERE.items():
        if name in text:
            raise ValueError(f"{name} is not supported: use {instead}")
    for name in ("ssl.ca.location", "ssl.certificate.location", "ssl.key.location"):
        if name in text and not Path(text[name]).exists():
            raise ValueError(f"{name}: there is no {text[name]}")
    folder = Path(text.get("ssl.ca.location", "")).is_dir()
    context = ssl.create_default_context(
        cafile=None if folder else text.get("ssl.ca.location"),
        capath=text.get("ssl.ca.location") if folder else None,
        cadata=text.get("ssl.ca.pem"),
    )
    if "ssl.certificate.location" in text:
        context.load_cert_chain(
            text["ssl.certificate.location"],
            text.get("ssl.key.location"),
            text.get("ssl.key.password"),
        )
    if text.get("ssl.endpoint.identification.algorithm") == "none":
        context.check_hostname = False
    if text.get("enable.ssl.certificate.verification", "true").lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
