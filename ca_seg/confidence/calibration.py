"""What was fitted on a labelled sample: the temperature of shares, and the thresholds that give a wished precision.

    scores ──► temper (T) ──► margin, entropy or max_probability ──► ignore_below (threshold)

calibration.json      {"schema": "ca_seg.calibration/1", "temperature": 0.8, "measure": "margin", "threshold": 0.41,
                       "backbone": "mini", "vocabulary": "9f...", "figures": {...}, ...}

With a threshold of each class there is "thresholds": {"cat": 0.38, "cow": 1.01} instead of "threshold".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ca_seg.confidence.numpy_measures import MEASURES, ROWS
from ca_seg.errors import UserError
from ca_seg.fingerprint import fingerprint

SCHEMA = "ca_seg.calibration/1"
NEVER = 1.01  # above every confidence: a class that is not to be labelled
AGAIN = "make it again by `ca-seg calibrate`"


@dataclass(frozen=True)
class Calibration:
    """How confidence is to be read for one backbone and vocabulary."""

    temperature: float
    measure: str  # a name of MEASURES
    thresholds: float | Mapping[str, float]  # one, or one for each class name; NEVER: no pixel
    backbone: str
    vocabulary: str  # `vocabulary_fingerprint`
    figures: Mapping[str, Any]  # what was reached on the sample

    def confidence(self, scores: np.ndarray) -> np.ndarray:
        """Float [K, H, W], 0 or more, to float32 [H, W] of 0..1, as it was when the thresholds were fitted."""
        return MEASURES[self.measure](temper(scores, self.temperature))

    def threshold(self, classes: Sequence[str]) -> float | np.ndarray:
        """What `ignore_below` takes: one number, or float64 [K] in the order of `classes`.

        Raises UserError for a class without a threshold.
        """
        if not isinstance(self.thresholds, Mapping):
            return self.thresholds
        lacking = [name for name in classes if name not in self.thresholds]
        if lacking:
            raise UserError(f"the calibration has no threshold for the class {lacking[0]!r}", fix=AGAIN)
        return np.array([self.thresholds[name] for name in classes], np.float64)


def temper(scores: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log(shares) / T) of scores [K, H, W], 0 or more: float32 shares; a pixel without any score stays so.

    A temperature below 1 makes surer, above 1 less sure; the order of the classes stays. Computed as powers of what
    each score is of the largest, so that no share is too small for it.
    """
    shares = np.zeros(scores.shape, np.float32)
    for top in range(0, scores.shape[1], ROWS):
        block = scores[:, top : top + ROWS].astype(np.float64)
        most = block.max(axis=0)
        block = (block / np.where(most > 0, most, 1)) ** (1 / temperature)
        shares[:, top : top + ROWS] = block / np.where(most > 0, block.sum(axis=0), 1)
    return shares


def vocabulary_fingerprint(classes: Sequence[str], phrases: Sequence[Sequence[str]]) -> str:
    """One short name for the words that were asked, in their order: shares of other words are other numbers."""
    return fingerprint({"classes": list(classes), "phrases": [list(own) for own in phrases]})


def read_calibration(path: Path) -> Calibration:
    """The calibration in a file that `ca-seg calibrate` wrote.

    Raises UserError, naming the file, when it is missing, is not JSON, is of another version, lacks a key, or holds a
    number outside its range.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise UserError(f"{path} is no calibration ({problem})", fix="`ca-seg calibrate` writes one") from problem
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else None
        raise UserError(f"{path} is of schema {found!r}", allowed=SCHEMA, fix=AGAIN)
    one, each = content.get("threshold"), content.get("thresholds")
    if (one is None) == (each is None):
        raise UserError(f"{path} has both a threshold and thresholds, or neither", allowed="one of the two", fix=AGAIN)
    if each is not None and not (isinstance(each, dict) and each):
        raise UserError(f"{path}: thresholds are {each!r}", allowed='a table: {"cat": 0.4}', fix=AGAIN)
    for what, value, high in (
        ("temperature", content.get("temperature"), math.inf),
        *((f"threshold of {name!r}", value, NEVER) for name, value in (each or {"every class": one}).items()),
    ):
        least = 0 if what != "temperature" else math.ulp(0.0)
        if not (_is_number(value) and least <= value <= high and math.isfinite(value)):
            allowed = f"a number of 0 to {NEVER:g}" if what != "temperature" else "a finite number above 0"
            raise UserError(f"{path}: the {what} is {value!r}", allowed=allowed, fix=AGAIN)
    if content.get("measure") not in MEASURES:
        raise UserError(f"{path}: the measure is {content.get('measure')!r}", allowed=", ".join(MEASURES), fix=AGAIN)
    for key, kind in (("backbone", str), ("vocabulary", str), ("figures", dict)):
        if not isinstance(content.get(key), kind):
            raise UserError(f"{path} has no {key!r}", fix=AGAIN)
    return Calibration(
        float(content["temperature"]),
        content["measure"],
        float(one) if each is None else {name: float(value) for name, value in each.items()},
        content["backbone"],
        content["vocabulary"],
        content["figures"],
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
