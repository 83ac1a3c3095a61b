"""The identity of a feature cache: what its features depend on besides the images.

    FOLDER/3f9a.../identity.json      {"source": {...}, "dtype": "float16", "ca_seg": "0.1.0", "torch": "2.14.1", ...}
           └── the fingerprint of all of it, so another identity is another sub-folder

The versions of torch (every product and resize), diffusers (the transformers and autoencoders) and transformers (the
text encoders) are part of it, because another release of any of them may give the same image other features. The build
("+cu130") and the device are not: they round differently, by less than half precision does. Nor is Pillow: between
releases, a decoder's gray levels differ by one at most.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ca_seg import __version__
from ca_seg.bounded_files import read_json
from ca_seg.errors import UnknownName
from ca_seg.fingerprint import differences, fingerprint

# Raise it with every change of the code between an image's file and its features that changes a value: how images
# are read and resized, how they are recorded, asked and projected, what a source computes. Storage has FORMAT.
FEATURES_VERSION = 1
FORMAT = 2  # of the shards; raise it with every change of how features are stored
DTYPES = ("float16", "float32")
LIBRARIES = ("torch", "diffusers", "transformers")
FILE = "identity.json"


def cache_identity(source: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """The identity of a cache.

    Args:
        source: what the feature source's `identity()` returns
        dtype: one of `DTYPES`

    Raises:
        UnknownName: for another dtype
    """
    if dtype not in DTYPES:
        raise UnknownName("dtype of a feature cache", dtype, DTYPES)
    libraries = {name: version(name).partition("+")[0] for name in LIBRARIES}
    stored = {"dtype": dtype, "ca_seg": __version__, "features_version": FEATURES_VERSION, "format": FORMAT}
    return json.loads(json.dumps({"source": source, **stored, **libraries}, allow_nan=False))


def read_identity(folder: Path) -> dict[str, Any] | None:
    """The identity that a cache's folder contains; None if there is none, or it is damaged."""
    try:
        identity = read_json(folder / FILE)
    except (OSError, ValueError):
        return None
    return identity if isinstance(identity, dict) and fingerprint(identity) == folder.name else None


def identity_differences(wanted: Mapping[str, Any], existing: Mapping[str, Any]) -> list[str]:
    """One text for every value in which they differ: "vocabulary: cat, dog | there: cat"."""
    changed = differences(_flat(wanted), _flat(existing))
    return [f"{key}: {ours} | there: {theirs}" for key, (ours, theirs) in sorted(changed.items())]


def _flat(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The source's values beside the others."""
    return {**{key: value for key, value in identity.items() if key != "source"}, **identity.get("source", {})}
