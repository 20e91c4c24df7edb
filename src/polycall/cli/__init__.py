"""The command ``polycall``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command; what it needs beyond the library comes with ``polycall[cli]``."""
    try:
        from polycall.cli._commands import app
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in {"rich", "typer"}:
            raise
        sys.exit('polycall: the command needs more packages, type: python -m pip install "polycall[cli]"')
    app()
