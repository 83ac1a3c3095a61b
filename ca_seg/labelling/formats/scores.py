"""Soft scores: the probability of each class at each pixel, for distillation or a later decision.

scores/<key>.npz     "scores" [K, H, W], compressed, without pickle
scores.json          the classes, and how to read the numbers back
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from ca_seg.atomic import atomic_write
from ca_seg.errors import BadMask, UserError
from ca_seg.labelling.label import Label
from ca_seg.labelling.output import Output


@dataclass(frozen=True)
class Scores:
    """Loses only precision.

    Args:
        kind: "float16" stores 11 bits, for numbers up to 65,504: the error is at most 2^-11 of the score (2^-25 below
            2^-14). "uint8" stores score * 255, for scores of 0..1: the error is at most 1/510
    """

    name: ClassVar[str] = "scores"
    summary: ClassVar[str] = "soft scores as compressed .npz; float16, or uint8 for scores of 0..1"
    needs_scores: ClassVar[bool] = True

    kind: Literal["float16", "uint8"] = "float16"

    def __post_init__(self) -> None:
        if self.kind not in ("float16", "uint8"):
            raise UserError(f"scores as {self.kind!r}", allowed="'float16' or 'uint8'")

    def open(self, folder: Path, classes: Sequence[str]) -> ScoresWriter:
        return ScoresWriter(Output.of(folder, classes), self)


@dataclass(frozen=True)
class ScoresWriter:
    output: Output
    options: Scores

    def write(self, label: Label) -> list[str]:
        """Raises BadMask for a label without scores, and for scores that are not finite or outside the kind's range."""
        label.check(len(self.output.classes))
        if label.scores is None:
            raise BadMask(f"{label.key}: there are no scores to write", fix="give the label scores")
        low, high = float(label.scores.min()), float(label.scores.max())
        lowest, highest = (0.0, 1.0) if self.options.kind == "uint8" else (-65504.0, 65504.0)
        if not (lowest <= low and high <= highest):  # nan is neither
            raise BadMask(
                f"{label.key}: scores from {low:.6g} to {high:.6g}",
                allowed=f"{lowest:.6g} to {highest:.6g} for {self.options.kind}",
                fix="write float16, or give probabilities" if self.options.kind == "uint8" else "",
            )
        numbers = label.scores.astype(np.float16)
        if self.options.kind == "uint8":
            numbers = np.rint(label.scores.astype(np.float64) * 255).astype(np.uint8)
        relative = f"scores/{label.key}.npz"
        with atomic_write(self.output.path(relative)) as part, open(part, "wb") as file:
            np.savez_compressed(file, scores=numbers)
        return [relative]

    def close(self) -> list[str]:
        scale = 1 / 255 if self.options.kind == "uint8" else 1.0
        content = {"classes": list(self.output.classes), "dtype": self.options.kind, "scale": scale}
        return [self.output.json("scores.json", content)]
