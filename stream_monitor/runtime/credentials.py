"""Translates librdkafka's security settings to the credentials of Faust's Kafka client."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import faust

_SUPPORTED: Final = frozenset(
    {
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.key.password",
        "ssl.endpoint.identification.algorithm",
        "ssl.crl.location",
    }
)
"""The TLS settings of librdkafka that the credentials support.  Another one is an error: a setting
that applies to one of the two connections only may leave the other one insecure."""
_PROBE: Final = "probe"
"""Value of ``ssl.ca.location`` that means the certificate authorities of the system."""
_OFF: Final = frozenset({"false", "f", "0"})


def faust_credentials(librdkafka: Mapping[str, str | int | float | bool]) -> object | None:
    """Credentials with the meaning of ``security.protocol`` and the settings it needs.

    ``None`` for plain text.

    Raises:
        ValueError: the protocol, mechanism or setting is not supported.
        OSError: a certificate or key cannot be read.
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
    unknown = sorted(name for name in text if name.startswith("ssl.") and name not in _SUPPORTED)
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)}: the membership in the group does not know it.  Known are "
            f"{', '.join(sorted(_SUPPORTED))}, certificates and keys as PEM files"
        )
    for name in (
        "ssl.ca.location",
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.crl.location",
    ):
        if name in text and text[name] != _PROBE and not Path(text[name]).exists():
            raise ValueError(f"{name}: there is no {text[name]}")
    place = text.get("ssl.ca.location", _PROBE)
    authority = None if place == _PROBE else place
    folder = authority is not None and Path(authority).is_dir()
    context = ssl.create_default_context(
        cafile=None if folder else authority,
        capath=authority if folder else None,
        cadata=text.get("ssl.ca.pem"),
    )
    if "ssl.crl.location" in text:
        context.load_verify_locations(text["ssl.crl.location"])
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    if "ssl.certificate.location" in text:
        context.load_cert_chain(
            text["ssl.certificate.location"],
            text.get("ssl.key.location"),
            text.get("ssl.key.password", ""),  # without one a terminal would be asked
        )
    if text.get("ssl.endpoint.identification.algorithm", "").lower() == "none":
        context.check_hostname = False
    if text.get("enable.ssl.certificate.verification", "").lower() in _OFF:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
