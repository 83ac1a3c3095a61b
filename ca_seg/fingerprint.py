"""Fingerprints: one short name for a set of settings, and what differs between two sets.

    {"backbone": "mini", "seed": 0}  ──► SHA-256 of its canonical JSON ──►  "9f2c41..."

Used wherever results may only be reused when everything they depend on is the same: feature caches, labelling runs,
calibrations, interrupted evaluations, converted datasets.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

EXCERPT = 60  # characters of a value in a message


def fingerprint(values: Any, *, digits: int = 32) -> str:
    """Hexadecimal digits that stand for `values`, in any order of their keys.

    Args:
        values: what JSON can hold; not NaN
        digits: length of the result, 1 to 64
    """
    text = json.dumps(values, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The values that differ, as text, by key; keys of nested mappings are joined by dots ("model.seed").

    A key that one side lacks counts as "not given". Long values are cut to where they begin to differ.
    """
    one, two = _flat(first), _flat(second)
    changed = {}
    for key in dict.fromkeys((*one, *two)):
        a, b = one.get(key, "not given"), two.get(key, "not given")
        if a != b:
            changed[key] = _excerpts(a, b)
    return changed


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{above}{key}.")
        elif isinstance(value, list) and not any(isinstance(item, list | Mapping) for item in value):
            flat[above + key] = ", ".join(item if isinstance(item, str) else json.dumps(item) for item in value)
        else:
            flat[above + key] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return flat


def _excerpts(first: str, second: str) -> tuple[str, str]:
    """Two different texts, cut to where they begin to differ when they are long."""
    if max(len(first), len(second)) <= EXCERPT:
        return first, second
    shorter = min(len(first), len(second))
    same = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), shorter)
    start = max((space.start() + 1 for space in re.finditer(r" ", first[:same])), default=0)

    def excerpt(text: str) -> str:
        return ("… " if start else "") + text[start : start + EXCERPT] + (" …" if len(text) > start + EXCERPT else "")

    return excerpt(first), excerpt(second)
