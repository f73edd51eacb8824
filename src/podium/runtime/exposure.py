"""How far the listener can be heard and how it is protected there: TLS as configured, and a warning without."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from podium.config import Config, is_loopback
from podium.errors import ConfigError
from podium.server.tls import Tls, TlsFiles

_LONGEST_SOCKET = 100
"""Bytes of a unix socket's path; the kernel takes 107."""


class Exposure:
    """One gateway's. Nothing is read before ``open``."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._tls: Tls | None = None
        self._stack = contextlib.ExitStack()

    def open(self) -> Tls | None:
        """TLS for the listener, ``None`` where it speaks plain HTTP. Raises ``ConfigError``."""
        files = tls_files(self._config)
        if files is not None and self._tls is None:
            self._tls = Tls(files)
        return self._tls

    def own_socket(self) -> Path:
        """Where commands of the user who runs the server reach it: behind a folder that nobody else can enter."""
        path = self._config.run_dir / "podium.sock"
        if len(os.fsencode(path)) > _LONGEST_SOCKET:
            path = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="podium-"))) / "podium.sock"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        return path

    def close(self) -> None:
        """Remove what was made for the socket."""
        self._stack.close()

    def reload(self) -> None:
        """Read the certificate again. Raises ``ConfigError``; then the old one stays."""
        if self._tls is not None:
            self._tls.reload()

    def problems(self) -> tuple[str, ...]:
        """What a person should know."""
        plain = in_the_clear(self._config)
        if plain is not None:
            return (plain,)
        return self._tls.problems() if self._tls is not None else ()


def in_the_clear(config: Config) -> str | None:
    """The warning for a server whose keys and prompts cross a network unencrypted."""
    server = config.server
    if is_loopback(server.host) or server.tls_certificate is not None:
        return None
    return (
        f"listening on {server.host} without TLS: keys, prompts and answers cross the network readable; set "
        "tls_certificate and tls_key in [server], or put a proxy that speaks TLS in front and listen on 127.0.0.1"
    )


def tls_files(config: Config) -> TlsFiles | None:
    """Paths are meant from the configuration file, else from the home. Raises ``ConfigError``."""
    server = config.server
    if server.tls_certificate is None and server.tls_key is None and server.tls_client_ca is None:
        return None
    if server.tls_certificate is None or server.tls_key is None:
        raise ConfigError("[server] tls_certificate and tls_key belong together; give both")
    folder = config.file.parent if config.file is not None else config.home
    ca = server.tls_client_ca
    return TlsFiles(
        certificate=(folder / server.tls_certificate).expanduser(),
        key=(folder / server.tls_key).expanduser(),
        client_ca=None if ca is None else (folder / ca).expanduser(),
    )
