"""The review page: one HTML file that opens from disk. It contains thumbnails, and links to the files beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, StrictUndefined

from ca_seg.atomic import atomic_write
from ca_seg.errors import BadMask, UnreadableImage, UserError
from ca_seg.labelling.entry import Entry
from ca_seg.labelling.run_reader import LabelRun
from ca_seg.labelling.statistics import AREAS, LabelStatistics
from ca_seg.review_page.choice import image_confidence
from ca_seg.review_page.thumbnail import thumbnail
from ca_seg.visual.palette import colour

LEADS = {
    "confidence": "the lowest confidence first; a pixel without a label counts as 0",
    "class": "for each class in turn, where its confidence is lowest",
    "area": "the smallest area of a class first",
}
MAX_CHIPS = 12  # classes that are named under an image


@dataclass
class ReviewPage:
    """The page of a run.

    `shown` and `failed` (image, reason) say which images are on it, once it has been written.
    """

    run: LabelRun
    statistics: LabelStatistics
    skipped: Sequence[tuple[str, str]] | None
    by: str
    shown: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)

    def write(self, path: Path, entries: Sequence[Entry]) -> int:
        """Write the page, image by image; returns its size in bytes."""
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        template = environment.from_string((files("ca_seg.review_page") / "review.html.j2").read_text(encoding="utf-8"))
        self.shown, self.failed = 0, []
        parts = template.generate(
            title=f"Labels of {self.run.folder.resolve().name}",
            lead=LEADS[self.by],
            facts=self._facts(),
            statistics=self.statistics.as_json(self.skipped),
            classes=self._classes(),
            cards=self._cards(path, entries),
            data=self._data(),
            failed=self.failed,
        )
        with atomic_write(path) as part, open(part, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(parts)
        return path.stat().st_size

    def _cards(self, page: Path, entries: Sequence[Entry]) -> Iterator[dict[str, Any]]:
        indices = {name: index for index, name in enumerate(self.run.classes)}
        for entry in entries:
            try:
                small = thumbnail(self.run, entry)
            except (UnreadableImage, BadMask) as problem:
                self.failed.append((entry.image, str(problem)))
                continue
            size = entry.height * entry.width
            largest = sorted(entry.area.items(), key=lambda item: (-item[1], item[0]))
            self.shown += 1
            yield {
                "name": entry.image,
                "small": small,
                "size": f"{entry.width} x {entry.height}",
                "confidence": image_confidence(entry),
                "unlabelled": 1 - sum(entry.area.values()) / size,
                "present": [indices[name] for name in entry.area],
                "chips": [
                    {
                        "name": name,
                        "index": indices[name],
                        "fraction": area / size,
                        "confidence": entry.confidence[name],
                    }
                    for name, area in largest[:MAX_CHIPS]
                ],
                "more": max(0, len(largest) - MAX_CHIPS),
                "links": [
                    (what, _link(page, target))
                    for what, target in (
                        ("image", self.run.image_path(entry)),
                        ("mask", self.run.mask_path(entry)),
                        ("confidence map", self.run.confidence_path(entry)),
                    )
                ],
            }

    def _classes(self) -> list[dict[str, Any]]:
        """Rows of the table with their colours; those of the most frequent classes differ most."""
        rows = self.statistics.table()
        indices = {name: index for index, name in enumerate(self.run.classes)}
        return [
            row | {"index": indices[row["class"]], "colour": "#" + bytes(colour(rank)).hex()}
            for rank, row in enumerate(rows)
        ]

    def _data(self) -> dict[str, Any]:
        """What the script of the page computes with: histograms by class index, for classes that occur."""
        statistics = self.statistics
        present = np.flatnonzero(statistics.class_images).tolist()
        return {
            "run": self.run.fingerprint,
            "names": list(self.run.classes),
            "colours": {row["index"]: row["colour"] for row in self._classes()},
            "areaEdges": list(AREAS),
            "areas": {i: statistics.areas[i].tolist() for i in present},
            "levels": {i: statistics.levels[i].tolist() for i in present},
            "threshold": _number(self.run.settings.get("confidence", {}).get("threshold")),
        }

    def _facts(self) -> list[tuple[str, str]]:
        statistics = self.statistics
        labelled = int(statistics.class_pixels.sum()) / max(1, statistics.pixels)
        present = int((statistics.class_images > 0).sum())
        facts = [
            ("images", f"{statistics.images:,} labelled"),
            ("classes", f"{present} of {len(statistics.classes)} occur"),
            ("pixels with a label", f"{100 * labelled:.1f} %"),
            ("images without any label", f"{statistics.without_label:,}"),
            ("skipped", "the run has not ended" if self.skipped is None else f"{len(self.skipped):,}"),
        ]
        facts += [("backbone", str(self.run.settings.get("model", {}).get("backbone")))]
        for key, value in self.run.settings.get("confidence", {}).items():
            facts.append((key, _fact(value)))
        return [*facts, ("fingerprint", self.run.fingerprint)]


def _fact(value: object) -> str:
    if isinstance(value, dict):
        return "one for each class"
    return "none" if value is None else str(value)


def _number(value: object) -> float:
    """The run's threshold for the slider; 0 where each class has another, and where there is none."""
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else 0.0


def _link(page: Path, target: Path) -> str:
    """A URL from the page to a file. Raises UserError where no relative path leads there (another drive)."""
    try:
        return quote(Path(os.path.relpath(target.resolve(), page.parent.resolve())).as_posix())
    except ValueError as problem:
        raise UserError(f"no path leads from {page} to {target}", fix="write the page on the same drive") from problem
