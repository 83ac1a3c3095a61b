"""What cached features depend on beside the images, its short name, and what differs between two caches.

    FOLDER/3f9a.../identity.json      {"source": {...}, "dtype": "float16", "ca_seg": "0.2.0", "torch": "2.14.1", ...}
           └── the SHA-256 of all of it, so another identity is another sub-folder

The versions of torch (every product and resize), diffusers (the transformers and autoencoders) and transformers (the
text encoders) count, for with another release of any of them the same image may get other features. The build
("+cu130") and the device do not: they round differently, by less than half precision does. Nor does Pillow: between
releases, a decoder's gray levels differ by one at most.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ca_seg import __version__
from ca_seg.errors import UnknownName

# Raise it with every change of the code between an image's file and its features that changes a value: how images
# are read and resized, how they are recorded, asked and projected, what a source computes. Storage has FORMAT.
FEATURES_VERSION = 1
FORMAT = 1  # of the shards; raise it with every change of how features are stored
DTYPES = ("float16", "float32")
LIBRARIES = ("torch", "diffusers", "transformers")
FILE = "identity.json"
_SHOWN = 60  # characters of a value in a message


def cache_identity(source: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """The identity of a cache: `source` is what the feature source's `identity()` gives. Raises UnknownName."""
    if dtype not in DTYPES:
        raise UnknownName("dtype of a feature cache", dtype, DTYPES)
    libraries = {name: version(name).partition("+")[0] for name in LIBRARIES}
    own = {"dtype": dtype, "ca_seg": __version__, "features_version": FEATURES_VERSION, "format": FORMAT}
    return json.loads(_canonical({"source": source, **own, **libraries}))


def fingerprint(identity: Mapping[str, Any]) -> str:
    """32 hex digits that stand for an identity, in any order of its keys."""
    return hashlib.sha256(_canonical(identity).encode()).hexdigest()[:32]


def read_identity(folder: Path) -> dict[str, Any] | None:
    """The identity that stands in a cache's folder; None where there is none, or no whole one."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and fingerprint(found) == folder.name else None


def differences(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """One text for every key in which they differ: "vocabulary: cat, dog | there: cat"."""
    one, two = _flat(wanted), _flat(there)
    found = []
    for key in sorted(one.keys() | two.keys()):
        own, other = one.get(key, "not given"), two.get(key, "not given")
        if own != other:
            own, other = _excerpts(own, other)
            found.append(f"{key}: {own} | there: {other}")
    return found


def _canonical(identity: Mapping[str, Any]) -> str:
    return json.dumps(identity, sort_keys=True, allow_nan=False)


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Values as text by their keys, those of nested objects joined by dots; the source's own without its name."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, "" if not above and key == "source" else f"{above}{key}.")
        elif isinstance(value, list) and not any(isinstance(item, (list, Mapping)) for item in value):
            found[above + key] = ", ".join(item if isinstance(item, str) else json.dumps(item) for item in value)
        else:
            found[above + key] = value if isinstance(value, str) else json.dumps(value)
    return found


def _excerpts(one: str, two: str) -> tuple[str, str]:
    """Two different texts, cut to where they begin to differ when they are long."""
    if max(len(one), len(two)) <= _SHOWN:
        return one, two
    same = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    start = max((found.start() + 1 for found in re.finditer(r" ", one[:same])), default=0)
    return tuple(  # type: ignore[return-value]
        ("… " if start else "") + text[start : start + _SHOWN] + (" …" if len(text) > start + _SHOWN else "")
        for text in (one, two)
    )
