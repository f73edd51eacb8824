"""TLS of the public listener: reads certificate and key, says exactly what is wrong with them, and reads them again.

Owns the context of OpenSSL. Connections that exist keep the certificate they began with.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from pathlib import Path

from podium.errors import ConfigError

_OTHERS = 0o007
EXPIRES_SOON_S = 14 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files: the certificate with the chain above it, its key, and whose certificates clients must have, if any."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


class Tls:
    """One listener's certificate. Raises ``ConfigError`` for files that cannot be used."""

    def __init__(self, files: TlsFiles) -> None:
        self.files = files
        self.context = _context(files)

    def reload(self) -> None:
        """Use what the files hold now for new connections; a pair that cannot be used changes nothing.

        The authorities for clients stay as they were until the next start.
        """
        _context(self.files)  # a pair that does not fit would leave the context in use with half of it
        _load(self.context, self.files)

    def problems(self) -> tuple[str, ...]:
        """What will soon be wrong, or is."""
        from cryptography import x509  # noqa: PLC0415 - most servers need it never

        try:
            ends = x509.load_pem_x509_certificate(self.files.certificate.read_bytes()).not_valid_after_utc.timestamp()
        except (OSError, ValueError):
            return (f"{self.files.certificate} cannot be read any more; the server goes on with what it has",)
        left = ends - time.time()
        if left > EXPIRES_SOON_S:
            return ()
        when = "has expired" if left <= 0 else f"expires in {left / 86400:.1f} days"
        return (f"the certificate {self.files.certificate} {when}: renew it, then `podium config reload` or SIGHUP",)


def _context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.2 at least, HTTP/1.1, and the ciphers Python takes for safe."""
    for path in (files.certificate, files.key, files.client_ca):
        if path is not None:
            _readable(path)
    if files.key.stat().st_mode & _OTHERS:
        raise ConfigError(
            f"{files.key} can be read by every user, and whoever has it can pose as this server: chmod 600 "
            f"{files.key}, and have a new certificate made if others could have read it"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load(context, files)
    if files.client_ca is not None:
        try:
            context.load_verify_locations(cafile=str(files.client_ca))
        except ssl.SSLError:
            raise ConfigError(f"{files.client_ca} holds no certificate of an authority in PEM form") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    def locked() -> str:
        raise ConfigError(f"{files.key} is locked with a passphrase; write it without one, readable by this user only")

    try:
        context.load_cert_chain(str(files.certificate), str(files.key), password=locked)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            said = f"{files.key} is not the key of the certificate {files.certificate}; name the pair that was made together"
        else:
            which = files.key if _holds_certificate(files.certificate) else files.certificate
            what = "private key" if which is files.key else "certificate"
            said = f"{which} holds no {what} in PEM form (-----BEGIN …)"
        raise ConfigError(said) from None


def _holds_certificate(path: Path) -> bool:
    try:
        ssl.PEM_cert_to_DER_cert(
            path.read_text("ascii").strip().partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----"
        )
    except (ValueError, OSError):
        return False
    return True


def _readable(path: Path) -> None:
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; see tls_certificate and tls_key in [server]") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; let the user who runs Podium read it") from None
    if empty:
        raise ConfigError(f"{path} is empty")
