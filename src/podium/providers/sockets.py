"""Where processes listen, read from the kernel, so that a server on the wrong port can be told so. Linux only."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"
_SOCKET = re.compile(r"socket:\[(\d+)\]")


@dataclass(frozen=True, slots=True, order=True)
class Listener:
    """One listening TCP socket."""

    port: int
    address: str

    @property
    def reached_by_loopback(self) -> bool:
        """Whether a client that dials 127.0.0.1 gets there."""
        address = ipaddress.ip_address(self.address)
        mapped = getattr(address, "ipv4_mapped", None) or address
        return bool(mapped.is_unspecified) or str(mapped) == "127.0.0.1"

    def __str__(self) -> str:
        """As people write it."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def listening(pids: Iterable[int]) -> tuple[Listener, ...]:
    """Where ``pids`` listen, in the network of the first one; empty where the kernel does not tell.

    Source: Documentation/networking/proc_net_tcp.rst (state 0A is LISTEN, the tenth field the inode).
    """
    owners = list(pids)
    if not sys.platform.startswith("linux") or not owners:
        return ()
    inodes = {inode for pid in owners for inode in _inodes(pid)}
    found = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(f"/proc/{owners[0]}/net/{table}") as lines:  # noqa: PTH123 - as any file of /proc
            next(lines, None)
            for line in lines:
                fields = line.split()
                if fields[3] == _LISTEN and fields[9] in inodes:
                    address, _, port = fields[1].partition(":")
                    found.add(Listener(int(port, 16), _address(address)))
    return tuple(sorted(found))


def _inodes(pid: int) -> list[str]:
    """Inodes of the sockets a process holds open."""
    held = []
    with contextlib.suppress(OSError):
        for fd in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if match := _SOCKET.fullmatch(str(Path(fd.path).readlink())):
                    held.append(match[1])
    return held


def _address(text: str) -> str:
    """The kernel prints addresses as words of 32 bits in the byte order of the machine."""
    words = [bytes.fromhex(text[at : at + 8]) for at in range(0, len(text), 8)]
    raw = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    return str(ipaddress.ip_address(raw))
