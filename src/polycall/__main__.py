"""``python -m polycall``: the same as the command ``polycall``."""

from polycall.cli import main

main()
