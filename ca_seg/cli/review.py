"""`ca-seg review OUT`: a page of the pictures worth a look, and the statistics of a labelling run."""

from __future__ import annotations

import argparse

from ca_seg.errors import BadMask, OutOfRange, UserError
from ca_seg.evaluation.results import write_results
from ca_seg.labels.run_reader import LabelRun
from ca_seg.labels.statistics import LabelStatistics
from ca_seg.review.choice import Choice
from ca_seg.review.page import ReviewPage
from ca_seg.written import written

MOST = 1000  # pictures of a page


def review(args: argparse.Namespace) -> int:
    """Writes OUT/review.html, OUT/statistics.json and .csv; 1 when a picture could not be shown or counted."""
    if not 1 <= args.count <= MOST:
        raise OutOfRange(f"a page of {args.count} pictures", allowed=f"1 to {MOST}")
    if args.sample < 0:
        raise OutOfRange(f"a sample of {args.sample} pictures", allowed="0 or more")
    run = LabelRun.open(args.run_folder, args.pictures)
    skipped = run.skipped()
    choice, statistics = Choice(args.count, args.by, sample=args.sample), LabelStatistics(run.classes)
    for entry in run.entries():
        statistics.add(entry)
        choice.add(entry)
    if not statistics.pictures:
        raise UserError(f"{run.folder} has no labelled picture yet")
    uncounted = []
    for entry in choice.sampled:
        try:
            statistics.add_pixels(run.mask(entry), run.confidence(entry))
        except BadMask as problem:
            uncounted.append((entry.picture, str(problem)))
    write_results(run.folder / "statistics.json", statistics.as_json(skipped))
    with written(run.folder / "statistics.csv") as part:
        part.write_text(statistics.as_csv(), encoding="utf-8")
    page, path = ReviewPage(run, statistics, skipped, args.by), args.out or run.folder / "review.html"
    size = page.write(path, choice.chosen)
    failed = dict([*uncounted, *(page.failed or [])])
    for picture, reason in failed.items():
        print(f"not shown: {picture}: {reason}")
    print(f"{page.shown} pictures, {size / 1e6:.1f} MB, {size / max(1, page.shown) / 1e3:.0f} kB a picture")
    print(path)
    return 1 if failed else 0
