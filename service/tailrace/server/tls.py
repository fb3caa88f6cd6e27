"""TLS as a listener of ours speaks it: which versions, which ciphers, whose certificate. Knows no connection."""

from __future__ import annotations

import ssl
from pathlib import Path

from tailrace.errors import ConfigurationError


def tls_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """Make the server's TLS context: 1.2 or later, HTTP/2 preferred (RFC 9113 section 9.2, RFC 7301).

    Raises `ConfigurationError` naming the file that cannot be read or used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.set_alpn_protocols(["h2", "http/1.1"])
    problems = [problem for file in (cert_file, key_file) if (problem := _unreadable(file))]
    if problems:
        raise ConfigurationError(problems)
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError([f"{cert_file} and {key_file} are no certificate and its key: {error}"]) from error
    return context


def _unreadable(file: Path) -> str | None:
    try:
        file.read_bytes()
    except OSError as error:
        return f"cannot read {file}: {error.strerror or error}"
    return None


def _no_password() -> str:
    """Refuse, where OpenSSL would ask at the terminal and hang a container."""
    raise ValueError("the key is encrypted; give it without a passphrase")
