"""JSON files of results, written whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ca_seg.atomic import atomic_write

DIGITS = 6  # after the decimal point


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` atomically; NaN becomes null, for JSON has no NaN. Floats are rounded to 6 decimals.

    Raises UserError, naming the file, when it cannot be written.
    """
    with atomic_write(path) as part:
        part.write_text(json.dumps(_plain(content), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, DIGITS)
    return value
