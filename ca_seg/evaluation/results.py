"""results.json: what was measured, on what, with what, and whether it is what the config expects."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ca_seg.data.dataset import SegmentationDataset
from ca_seg.errors import UserError
from ca_seg.written import written

SCHEMA = "ca_seg.results/2"
PACKAGES = ("torch", "diffusers", "transformers", "pytorch-lightning", "torchmetrics", "numpy")


def fingerprint(dataset: SegmentationDataset) -> str:
    """A short name for a set of pictures and masks: their file names, sizes in bytes, and class list (not contents)."""
    digest = hashlib.sha256(repr((dataset.class_list.names, dataset.class_list.ids)).encode())
    for index in range(len(dataset)):
        for path in (dataset.image_path(index), dataset.mask_path(index)):
            size = path.stat().st_size if path.is_file() else dataset.size(index)
            digest.update(f"{path.name} {size}\n".encode())
    return digest.hexdigest()[:16]


def versions() -> dict[str, str]:
    from ca_seg import __version__

    return {"ca_seg": __version__, "python": platform.python_version(), **{p: version(p) for p in PACKAGES}}


def settings_name(given: Mapping[str, Any]) -> str:
    """A short name for the settings that figures depend on: everything but where results go and what is reported."""
    kept = {k: v for k, v in given.items() if k not in ("out", "report", "expect", "config-file", "trainer", "base")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:16]


def check_pairs(expected: Mapping[str, Any]) -> None:
    """Raises UserError for an expectation that is not [value, tolerance]; called before a run."""
    for path, pair in expected.items():
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(x, int | float) for x in pair):
            raise UserError(f"expect.{path} is {pair!r}", allowed="[value, tolerance]")


def check_expected(expected: Mapping[str, Any], results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each `path.to.number: [value, tolerance]` against the results.

    Raises UserError for an entry that names no number.
    """
    checks = []
    for path, pair in expected.items():
        found: Any = results
        for key in path.split("/"):
            if not isinstance(found, Mapping) or key not in found:
                known = ", ".join(found) if isinstance(found, Mapping) else "nothing below it"
                raise UserError(f"expect names {path!r}, but there is no {key!r}", allowed=known)
            found = found[key]
        if not isinstance(found, int | float):
            raise UserError(f"expect names {path!r}, which is no number")
        value, tolerance = float(pair[0]), float(pair[1])
        holds = abs(found - value) <= tolerance
        checks.append({"figure": path, "expected": value, "tolerance": tolerance, "found": found, "holds": holds})
    return checks


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write atomically; nan becomes null, for JSON has no nan."""
    with written(path) as part:
        part.write_text(json.dumps(_plain(results), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value
