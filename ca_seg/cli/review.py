"""`ca-seg review OUT`: a page of the images worth a look, and the statistics of a labelling run."""

from __future__ import annotations

import argparse

from ca_seg.atomic import atomic_write
from ca_seg.errors import BadMask, OutOfRange, UserError
from ca_seg.json_file import write_json
from ca_seg.labelling.run_reader import LabelRun
from ca_seg.labelling.statistics import LabelStatistics
from ca_seg.review.choice import Choice
from ca_seg.review.page import ReviewPage

MOST = 1000  # images of a page


def review(args: argparse.Namespace) -> int:
    """Writes OUT/review.html, OUT/statistics.json and .csv; 1 when an image could not be shown or counted."""
    if not 1 <= args.count <= MOST:
        raise OutOfRange(f"a page of {args.count} images", allowed=f"1 to {MOST}")
    if args.sample < 0:
        raise OutOfRange(f"a sample of {args.sample} images", allowed="0 or more")
    run = LabelRun.open(args.run_folder, args.images)
    skipped = run.skipped()
    choice, statistics = Choice(args.count, args.by, sample=args.sample), LabelStatistics(run.classes)
    for entry in run.entries():
        statistics.add(entry)
        choice.add(entry)
    if not statistics.images:
        raise UserError(f"{run.folder} has no labelled image yet")
    uncounted = []
    for entry in choice.sampled:
        try:
            statistics.add_pixels(run.mask(entry), run.confidence(entry))
        except BadMask as problem:
            uncounted.append((entry.image, str(problem)))
    write_json(run.folder / "statistics.json", statistics.as_json(skipped))
    with atomic_write(run.folder / "statistics.csv") as part:
        part.write_text(statistics.as_csv(), encoding="utf-8")
    page, path = ReviewPage(run, statistics, skipped, args.by), args.out or run.folder / "review.html"
    size = page.write(path, choice.chosen)
    failed = dict([*uncounted, *(page.failed or [])])
    for image, reason in failed.items():
        print(f"not shown: {image}: {reason}")
    print(f"{page.shown} images, {size / 1e6:.1f} MB, {size / max(1, page.shown) / 1e3:.0f} kB an image")
    print(path)
    return 1 if failed else 0
