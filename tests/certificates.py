"""Throw-away TLS certificates for tests: a self-signed one for 127.0.0.1, and a client that trusts it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Certificate:
    """The two files of a server, in PEM."""

    cert_file: Path
    key_file: Path

    def client_context(self, *protocols: str) -> ssl.SSLContext:
        """Make a client's context that trusts this certificate and offers ``protocols`` by ALPN."""
        context = ssl.create_default_context(cafile=self.cert_file)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context


def make_certificate(folder: Path, name: str = "server") -> Certificate:
    """Write a new key and a certificate for 127.0.0.1 and localhost, good for a day, into ``folder``."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tailrace tests")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    made = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
    made.cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made
