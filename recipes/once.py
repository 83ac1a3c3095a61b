"""Figures that are computed once: an interrupted table continues from its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ca_seg.json_file import write_json


def once(file: Path, compute: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """The content of `file`, which is computed and written first if it is not there."""
    if not file.exists():
        write_json(file, compute())
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content
