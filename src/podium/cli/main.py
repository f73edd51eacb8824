"""The ``podium`` command: the one place that turns errors into an exit code. Its commands are in ``tree``.

Imports nothing heavy: a command's module is imported when it is asked for, and imports what it needs when it runs.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from podium import __version__
from podium.cli.tree import Tree
from podium.errors import PodiumError

app = typer.Typer(
    name="podium",
    cls=Tree,
    help="A local pool of language models behind one OpenAI-compatible endpoint that picks the best per task.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """Entry point. An expected error is one line on stderr and exit code 1; 130 when interrupted."""
    try:
        app()
    except PodiumError as error:
        sys.stderr.write(f"podium: {error.message}\n")
        dropped = error.details.get("dropped")
        if isinstance(dropped, dict):
            for ref, why in dropped.items():
                sys.stderr.write(f"  {ref}: {why}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
