"""TLS: the certificate that the server shows. Given as files, or made for this machine and kept for the next start."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import socket
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from omni_core.errors import ConfigError

FOLDER = Path("~/.cache/omni-duplex/tls")  #: where a self-signed certificate is kept, so that a browser's exception for it lasts
_VALID = datetime.timedelta(days=397)  # browsers reject longer ones
_RENEWED = datetime.timedelta(days=30)  # before the end
_ELSEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}  # addresses for documentation: nobody has them


def check(certificate: Path, key: Path) -> None:
    """Raises ConfigError for files that a server can't use, saying what is wrong with which."""
    for option, file in (("--tls-cert", certificate), ("--tls-key", key)):
        try:
            file.read_bytes()
        except OSError as error:
            raise ConfigError(f"{option} {file} can't be read: {error.strerror}") from None
    try:
        _load(certificate, key)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"--tls-key {key} is not the key of the certificate in {certificate}: give the two that were made together") from None
        raise ConfigError(
            f"--tls-cert {certificate} and --tls-key {key} are no certificate and unencrypted key in PEM ({error.reason or error})"
        ) from None


def self_signed(host: str, folder: Path = FOLDER) -> tuple[Path, Path]:
    """Files of a certificate and its key for localhost, this machine's names and addresses, and `host`. Raises ConfigError.

    They are made when there are none, and anew when they end soon or this machine has other addresses.
    """
    folder = folder.expanduser()
    certificate, key = folder / "cert.pem", folder / "key.pem"
    names = _names(host)
    if not _usable(certificate, key, names):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _make(certificate, key, names)
        except OSError as error:
            raise ConfigError(
                f"a certificate can't be kept in {folder}: {error.strerror}; make one elsewhere and give --tls-cert and --tls-key"
            ) from None
    return certificate, key


def _load(certificate: Path, key: Path) -> None:
    # Without a password of ours OpenSSL would ask for one on the terminal.
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")


def _usable(certificate: Path, key: Path, names: set[str]) -> bool:
    try:
        _load(certificate, key)
        held = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError):
        return False
    alternatives = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    mine = {*alternatives.get_values_for_type(x509.DNSName), *map(str, alternatives.get_values_for_type(x509.IPAddress))}
    return names <= mine and held.not_valid_after_utc - datetime.datetime.now(datetime.UTC) > _RENEWED


def _make(certificate: Path, key: Path, names: set[str]) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Omni Duplex on this machine")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))  # clocks differ
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectAlternativeName([_general_name(one) for one in sorted(names)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key.unlink(missing_ok=True)
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _names(host: str) -> set[str]:
    """What this machine may be called by those who connect to it."""
    names = {"localhost", "127.0.0.1", "::1", host}
    if socket.gethostname().isascii():
        names.add(socket.gethostname())
    for family, address in _ELSEWHERE.items():
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # sends nothing; chooses the address that others see
            names.add(probe.getsockname()[0])
    return names - {"0.0.0.0", "::", ""}
