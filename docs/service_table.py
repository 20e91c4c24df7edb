"""Write the table of services in docs/direct.md: ``python docs/service_table.py``."""

from __future__ import annotations

import re
from pathlib import Path

from polycall._services import service_named, service_names

PAGE = Path(__file__).with_name("direct.md")
PLACE = re.compile(r"(<!-- services -->\n).*?(<!-- /services -->)", re.DOTALL)


def table() -> str:
    """Return the table, one row for each service."""
    lines = ["| name | address | key |", "|---|---|---|"]
    for name in service_names():
        service = service_named(name)
        assert service is not None
        keys = ", ".join(f"`{key}`" for key in service.keys) or "none"
        lines.append(f"| `{name}` | {f'`{service.url}`' if service.url else 'yours'} | {keys} |")
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """Return the page with the table in its place."""
    return PLACE.sub(lambda place: place[1] + table() + place[2], text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
