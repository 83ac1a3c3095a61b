"""Review the labels of a run: a page of the images that deserve a look, and statistics of all classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ca_seg.atomic import atomic_write
from ca_seg.errors import BadMask, OutOfRange, UserError
from ca_seg.jobs.arguments import check_file, check_path
from ca_seg.json_file import write_json
from ca_seg.labelling.run_reader import LabelRun
from ca_seg.labelling.statistics import LabelStatistics
from ca_seg.review_page.choice import Choice
from ca_seg.review_page.page import ReviewPage

MAX_IMAGES = 1000  # on a page


@dataclass(frozen=True)
class ReviewSettings:
    """Options of a review.

    Args:
        count: images on the page
        by: confidence, class or area: which images are shown
        sample: images whose pixels are counted by confidence
        images: the folder of the images, if they were moved
        out: the page; None: RUN/review.html
    """

    count: int = 100
    by: str = "confidence"
    sample: int = 500
    images: str | None = None
    out: str | None = None


@dataclass(frozen=True)
class ReviewResults:
    """A page, and the statistics of its run."""

    page: Path
    size: int  # bytes of the page
    shown: int  # images on the page
    statistics: Mapping[str, Any]  # what statistics.json holds
    failed: Mapping[str, str]  # images that could not be shown or counted, with the reason

    @property
    def complete(self) -> bool:
        """Whether every image could be shown and counted."""
        return not self.failed


def review(
    run_folder: str | Path,
    *,
    count: int = ReviewSettings.count,
    by: str = ReviewSettings.by,
    sample: int = ReviewSettings.sample,
    images: str | Path | None = None,
    out: str | Path | None = None,
) -> ReviewResults:
    """Write a page of the images of a labelling run that deserve a look, and statistics of its classes.

    Writes RUN/review.html, RUN/statistics.json and RUN/statistics.csv. The run need not have ended.

    Args:
        run_folder: what `label` wrote, with the format png and confidence maps
        count: images on the page, 1 to 1000
        by: "confidence" shows the images with the lowest mean confidence, "class" those of each class in turn, "area"
            those with the smallest areas
        sample: images whose pixels are counted by confidence, 0 or more
        images: the folder of the images, if they were moved
        out: the page, in place of RUN/review.html

    Returns:
        The page, the statistics, and the images that could not be shown.

    Raises:
        UserError: for a folder that is not a labelling run or has no labels yet, and for labels without a confidence
        OutOfRange: for a count or a sample outside its range

    Example:
        >>> ca_seg.review("labels", by="class").page
        PosixPath('labels/review.html')
    """
    check_path("the folder of the run", run_folder)
    if not 1 <= count <= MAX_IMAGES:
        raise OutOfRange(f"a page of {count} images", allowed=f"1 to {MAX_IMAGES}")
    if sample < 0:
        raise OutOfRange(f"a sample of {sample} images", allowed="0 or more")
    path = Path(out) if out else Path(run_folder) / "review.html"
    _check_page(path)
    run = LabelRun.open(Path(run_folder), None if images is None else Path(images))
    skipped = run.skipped()
    choice, statistics = Choice(count, by, sample=sample), LabelStatistics(run.classes)
    for entry in run.entries():
        statistics.add(entry)
        choice.add(entry)
    if not statistics.images:
        raise UserError(f"{run.folder} has no labelled image yet")
    failed: dict[str, str] = {}
    for entry in choice.sampled:
        try:
            statistics.add_pixels(run.mask(entry), run.confidence(entry))
        except BadMask as problem:
            failed[entry.image] = str(problem)
    content = statistics.as_json(skipped)
    write_json(run.folder / "statistics.json", content)
    with atomic_write(run.folder / "statistics.csv") as part:
        part.write_text(statistics.as_csv(), encoding="utf-8")
    page = ReviewPage(run, statistics, skipped, by)
    size = page.write(path, choice.chosen)
    return ReviewResults(path, size, page.shown, content, failed | dict(page.failed))


def _check_page(path: Path) -> None:
    """Raises UserError for a page that would replace another file, such as the run's manifest."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"the page {path}", allowed="a name that ends in .html")
    check_file(path)
