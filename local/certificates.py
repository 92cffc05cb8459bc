"""The local authority and the keys of one stack: made for each stack, and trusted in its environment alone."""

from __future__ import annotations

from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

CLOUD_NAMES = (
    "management.azure.com",
    "*.vault.azure.net",
    "api.fabric.microsoft.com",
    "login.microsoftonline.com",
    "127.0.0.1",
    "localhost",
)


def create(folder: Path, *names: str) -> None:
    """Write the authority, the certificate of the stand-ins and the key that signs tokens into `folder`.

    `names` are the stand-ins' host names that depend on the stack, such as those of Event Grid topics.

    `authority.pem` and `authority.key` let the control plane of PostgreSQL issue certificates for new servers.
    """
    authority = trustme.CA(organization_name="fabric-mirror local stack")
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    _private(folder / "authority.key", authority.private_key_pem.bytes())
    issue(authority, folder / "cloud.pem", folder / "cloud.key", *CLOUD_NAMES, *names)
    signing = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _private(
        folder / "signing.pem",
        signing.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
    (folder / "signing.pub").write_bytes(
        signing.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def load(folder: Path) -> trustme.CA:
    """The authority of an existing stack."""
    return trustme.CA.from_pem((folder / "authority.pem").read_bytes(), (folder / "authority.key").read_bytes())


def issue(authority: trustme.CA, certificate: Path, key: Path, *names: str) -> None:
    """Write a certificate for `names` (host names or IP addresses), with its chain, and its key."""
    issued = authority.issue_cert(*names)
    certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    _private(key, issued.private_key_pem.bytes())


def _private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
