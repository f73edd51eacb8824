"""Turns a command template into words, and refuses what cannot work before anything is started. No shell."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
from pathlib import Path

from podium.errors import InvalidRequest
from podium.ports import RAM

HOST = "127.0.0.1"
_PLACE = re.compile(r"\$\$|\$\{(PORT|HOST|DEVICE)\}|\$(PORT|HOST|DEVICE)(?!\w)")
"""What is put in; ``$$`` stays, as it means something to a shell."""
_WEIGHTS = (".gguf", ".safetensors")
_LITERAL_PORT = re.compile(r"(--?[\w-]*port[ =])(\d+)")


def expand(template: str, port: str, device: str = RAM, search: str | None = None) -> list[str]:
    """The command line with ``${PORT}``, ``${HOST}`` and ``${DEVICE}`` put in; other ``$`` are left alone.

    ``search`` is the PATH that will be in force. Raises ``InvalidRequest`` when it cannot be run.
    """
    try:
        parts = shlex.split(template)
    except ValueError as error:
        raise InvalidRequest(f"the command cannot be split into words: {error}", param="source.location") from None
    if not parts:
        raise InvalidRequest("the command is empty", param="source.location")
    values = {"PORT": port, "HOST": HOST, "DEVICE": device}
    used: set[str] = set()

    def put_in(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name is None:
            return match[0]
        used.add(name)
        return values[name]

    words = [_PLACE.sub(put_in, part) for part in parts]
    if "PORT" not in used:
        raise InvalidRequest(
            f"the command must take its port from us; {_suggestion(template)}", param="source.location"
        )
    _check_program(words[0], search)
    return words


def named_weights(template: str) -> int | None:
    """Bytes of the ``.gguf`` and ``.safetensors`` files a command names (``-m model.gguf``, ``--model=…``); ``None``
    when there are none. Less than it will need, but more than nothing.
    """
    with contextlib.suppress(ValueError, OSError):
        words = [word.rpartition("=")[2] for word in shlex.split(template)]
        files = {Path(word).expanduser() for word in words if word.endswith(_WEIGHTS)}
        return sum(file.stat().st_size for file in files if file.is_file()) or None
    return None


def _suggestion(template: str) -> str:
    found = _LITERAL_PORT.search(template)
    if found:
        return f"write `{found[1]}${{PORT}}` instead of `{found[0]}`"
    return "put ${PORT} where the port number goes, as in `llama-server -m model.gguf --port ${PORT}`"


def _check_program(program: str, search: str | None) -> None:
    if shutil.which(program, path=search) is not None:
        return
    if os.sep not in program:
        raise InvalidRequest(
            f"there is no program {program!r} on this machine (nor in PATH); install it or give its full path",
            param="source.location",
        )
    path = Path(program)
    if path.is_dir():
        why = "is a directory; name the program in it"
    elif path.exists():
        why = f"is not executable; run `chmod +x {shlex.quote(program)}`, or put its interpreter before it"
    else:
        why = "does not exist; check the path"
    raise InvalidRequest(f"{program} {why}", param="source.location")
