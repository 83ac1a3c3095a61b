"""The file of a fitted confidence: temperature, measure and thresholds for one backbone and one vocabulary.

    scores ──► temperature ──► margin, entropy or max_probability ──► ignore_below (threshold)

calibration.json      {"schema": "ca_seg.calibration/1", "temperature": 0.8, "measure": "margin", "threshold": 0.41,
                       "backbone": "mini", "vocabulary": "9f...", "figures": {...}, ...}

With one threshold per class there is "thresholds": {"cat": 0.38, "cow": 1.01} instead of "threshold".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from ca_seg.atomic import atomic_write
from ca_seg.bounded_files import read_json
from ca_seg.confidence.measures import MEASURES
from ca_seg.confidence.pixels import apply_temperature_to_pixels, pixel_confidence
from ca_seg.errors import UserError
from ca_seg.fingerprint import differences, fingerprint

SCHEMA = "ca_seg.calibration/1"
NEVER = 1.01  # a threshold above every confidence: the class is never labelled
HOW_TO_FIX = "make it again with `ca-seg calibrate`"
FORMER_MEASURES = {"max_share": "max_probability"}  # names in files of former versions


@dataclass(frozen=True)
class Calibration:
    """How the confidence of one backbone and vocabulary is computed, and which confidence is enough.

    Args:
        temperature: of the class probabilities, above 0
        measure: a name of MEASURES
        thresholds: one for all classes, or one for each class name; NEVER where no pixel may have the class
        backbone: its name
        vocabulary: the `vocabulary_fingerprint` of its words
        figures: precision, coverage and calibration error on the sample it was fitted on
        words: the phrases of each class; None in files of version 0.2
        readout: how the maps were read and refined, by option; options that a file does not have are not compared
    """

    temperature: float
    measure: str
    thresholds: float | Mapping[str, float]
    backbone: str
    vocabulary: str
    figures: Mapping[str, Any]
    words: Mapping[str, Sequence[str]] | None = None
    readout: Mapping[str, Any] = field(default_factory=dict, compare=False)  # of a loaded backbone, not its weights

    def changes(self, readout: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
        """The options that were fitted with another value than this readout has: the value then, and that now."""
        both = [name for name in readout if name in self.readout]
        return differences({name: self.readout[name] for name in both}, {name: readout[name] for name in both})

    def confidence(self, scores: np.ndarray) -> np.ndarray:
        """The confidence of each pixel, computed as it was when the thresholds were fitted.

        Args:
            scores: float [K, H, W], 0 or more; an array or a tensor

        Returns:
            float32 [H, W], 0..1

        Raises:
            UserError: for scores of another shape
        """
        scores = np.asarray(scores)
        if scores.ndim != 3 or scores.dtype.kind != "f":
            raise UserError(f"scores of shape {scores.shape}, {scores.dtype}", allowed="float [K, H, W]")
        pixels = apply_temperature_to_pixels(scores.reshape(len(scores), -1), self.temperature)
        return pixel_confidence(pixels, self.measure).reshape(scores.shape[1:])

    def threshold(self, classes: Sequence[str]) -> float | np.ndarray:
        """The thresholds as `ignore_below` takes them: one number, or float64 [K] in the order of `classes`.

        Raises:
            UserError: for a class without a threshold
        """
        if not isinstance(self.thresholds, Mapping):
            return self.thresholds
        missing = [name for name in classes if name not in self.thresholds]
        if missing:
            raise UserError(f"the calibration has no threshold for the class {missing[0]!r}", fix=HOW_TO_FIX)
        return np.array([self.thresholds[name] for name in classes], np.float64)


def vocabulary_fingerprint(classes: Sequence[str], phrases: Sequence[Sequence[str]]) -> str:
    """A short name for a vocabulary, in its order. Probabilities over other words are other numbers."""
    return fingerprint({"classes": list(classes), "phrases": [list(words) for words in phrases]})


def read_calibration(path: str | Path) -> Calibration:
    """Read a file that `ca-seg calibrate` wrote.

    Raises:
        UserError: naming the file, when it is missing, is not JSON, has another schema, lacks a key, or holds a number
            outside its range
    """
    content = _read(Path(path))
    threshold, by_class = content.get("threshold"), content.get("thresholds")
    if (threshold is None) == (by_class is None):
        raise UserError(
            f"{path} has both a threshold and thresholds, or neither", allowed="one of the two", fix=HOW_TO_FIX
        )
    if by_class is not None and not (isinstance(by_class, dict) and by_class):
        raise UserError(f"{path}: thresholds are {by_class!r:.60}", allowed='a table: {"cat": 0.4}', fix=HOW_TO_FIX)
    temperature = content.get("temperature")
    if not _is_number(temperature) or not 0 < temperature < math.inf:
        raise UserError(
            f"{path}: the temperature is {temperature!r:.60}", allowed="a finite number above 0", fix=HOW_TO_FIX
        )
    for name, value in (by_class or {"all classes": threshold}).items():
        if not _is_number(value) or not 0 <= value <= NEVER:
            allowed = f"a number of 0 to {NEVER:g}"
            raise UserError(f"{path}: the threshold of {name!r:.60} is {value!r:.60}", allowed=allowed, fix=HOW_TO_FIX)
    measure = content.get("measure")
    measure = FORMER_MEASURES.get(measure, measure) if isinstance(measure, str) else measure
    if not isinstance(measure, str) or measure not in MEASURES:
        raise UserError(f"{path}: the measure is {measure!r:.60}", allowed=", ".join(MEASURES), fix=HOW_TO_FIX)
    for key, kind in (("backbone", str), ("vocabulary", str), ("figures", dict)):
        if not isinstance(content.get(key), kind):
            raise UserError(f"{path} has no {key!r}", fix=HOW_TO_FIX)
    readout = content.get("readout", {})
    if not isinstance(readout, dict):
        raise UserError(f"{path}: the readout is {readout!r:.60}", allowed="a table of options", fix=HOW_TO_FIX)
    thresholds = float(threshold) if threshold is not None else {k: float(v) for k, v in (by_class or {}).items()}
    return Calibration(
        float(temperature),
        measure,
        thresholds,
        content["backbone"],
        content["vocabulary"],
        content["figures"],
        content.get("words"),
        readout,
    )


def write_calibration(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a calibration file atomically, with all digits: rounded thresholds would retain other pixels.

    Raises:
        UserError: when the file cannot be written
    """
    with atomic_write(Path(path)) as part:
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError) as problem:
        raise UserError(f"{path} is not a calibration ({problem})", fix="`ca-seg calibrate` writes one") from problem
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise UserError(f"{path} is of schema {schema!r:.60}", allowed=SCHEMA, fix=HOW_TO_FIX)
    return content


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
