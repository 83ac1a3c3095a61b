"""Tables in pages of the documentation, each between <!-- NAME --> and <!-- end -->."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ca_seg.errors import UserError


def fill(page: Path, name: str, text: str) -> None:
    """Put `text` between the page's marks of `name`. Raises UserError where they are not there once."""
    between = re.compile(rf"(?<=<!-- {re.escape(name)} -->\n).*?(?=\n<!-- end -->)", re.DOTALL)
    content, count = between.subn(lambda _: text, page.read_text(encoding="utf-8"))
    if count != 1:
        raise UserError(f"{page} has {count} places for {name!r}", allowed=f"one: <!-- {name} --> and <!-- end -->")
    page.write_text(content, encoding="utf-8")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
