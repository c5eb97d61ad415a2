"""Certificate authorities and certificates for the secured Kafka of the tests, by openssl, as PEM texts."""

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: str
    key: str


def authority(name: str) -> Pair:
    """Make a certificate authority."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _openssl(
            place,
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt"),
            *("-subj", f"/CN={name}", "-days", "30"),
        )
        return _read(place, "ca")


def signed(by: Pair, name: str, hosts: tuple[str, ...]) -> Pair:
    """Make a server's certificate that is valid for these host names."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "ca.crt").write_text(by.certificate)
        (place / "ca.key").write_text(by.key)
        (place / "names").write_text(f"subjectAltName={','.join(f'DNS:{host}' for host in hosts)}\n")
        _openssl(place, "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "own.key")
        _openssl(place, "req", "-new", "-key", "own.key", "-subj", f"/CN={name}", "-out", "own.csr")
        _openssl(
            place,
            *("x509", "-req", "-in", "own.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", "30", "-extfile", "names", "-out", "own.crt"),
        )
        return _read(place, "own")


def _read(place: Path, name: str) -> Pair:
    return Pair((place / f"{name}.crt").read_text(), (place / f"{name}.key").read_text())


def _openssl(place: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=place, check=True, capture_output=True)
