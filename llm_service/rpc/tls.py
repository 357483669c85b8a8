"""TLS for the server from files, read again whenever they change."""

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the certificate chain, its key, and, for mutual TLS, the CAs of our callers."""

    certificate: Path
    private_key: Path
    client_ca: Path | None = None

    def paths(self) -> tuple[Path, ...]:
        files = (self.certificate, self.private_key, self.client_ca)
        return tuple(path for path in files if path is not None)


class UnusableTls(ValueError):
    """The files are missing, cut short, or do not belong together."""


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that follow the files. With `client_ca`, a client certificate is required.

    Every handshake uses the newest good set; while the files are unreadable, half-written or do not
    match, the last good one stays. Open connections keep what they were made with.

    Raises:
        UnusableTls: the files are no good now, at the start.
    """
    certificates = _Certificates(files)
    fetch: Any = certificates.newer  # may answer None, which the type stubs do not know
    return grpc.dynamic_ssl_server_credentials(
        certificates.first(), fetch, files.client_ca is not None
    )


class _Certificates:
    """Called by gRPC from its own threads, once per handshake."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._seen: object = None

    def first(self) -> grpc.ServerCertificateConfiguration:
        self._seen = _fingerprint(self._files)
        return _read(self._files)

    def newer(self) -> grpc.ServerCertificateConfiguration | None:
        """A configuration if the files hold a new good one; None keeps the one in use."""
        with self._lock:
            seen = _fingerprint(self._files)
            if seen == self._seen:
                return None
            self._seen = seen
            try:
                read = _read(self._files)
            except UnusableTls as error:
                log.warning("keeping the previous TLS certificate: %s", error)
                return None
        log.info("serving a new TLS certificate from %s", self._files.certificate)
        return read


def _fingerprint(files: TlsFiles) -> object:
    try:
        stats = [path.stat() for path in files.paths()]
    except OSError:
        return None
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]


def _read(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    # Here, because a service without TLS need not carry them in memory.
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    chain = _pem(files.certificate)
    key = _pem(files.private_key)
    roots = _pem(files.client_ca) if files.client_ca else None
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        matches = load_pem_private_key(key, None).public_key() == leaf.public_key()
        if roots is not None:
            x509.load_pem_x509_certificates(roots)
    except (ValueError, TypeError):  # its text may quote the file
        raise UnusableTls(f"{files.certificate} and its key cannot be read as PEM") from None
    if not matches:
        raise UnusableTls(f"{files.private_key} is not the key of {files.certificate}")
    return grpc.ssl_server_certificate_configuration([(key, chain)], roots)


def _pem(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnusableTls(f"{path}: {error.strerror}") from error
    if data.count(b"-----BEGIN ") != data.count(b"-----END ") or b"-----BEGIN " not in data:
        raise UnusableTls(f"{path} is cut short or not PEM")
    return data
