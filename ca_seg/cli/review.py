"""`ca-seg review RUN`: a page of the images that deserve a look, and the statistics of a labelling run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from ca_seg.cli.parser import JobParser
from ca_seg.errors import UserError
from ca_seg.jobs.review import ReviewSettings, review

DESCRIPTION = "Review labels: ca-seg review RUN, the folder that `ca-seg label` wrote. Writes a page and statistics."


def run(arguments: Sequence[str]) -> int:
    """0 when every image could be shown and counted, else 1."""
    parser = JobParser("ca-seg review", DESCRIPTION, ReviewSettings)
    settings, folders = parser.parse_with_positional(arguments)
    if len(folders) != 1:
        raise UserError(f"{len(folders)} folders", allowed="one", fix="an example: ca-seg review out/labels")
    results = review(folders[0], **asdict(settings))
    for image, reason in results.failed.items():
        print(f"not shown: {image}: {reason}")
    size, shown = results.size, results.shown
    print(f"{shown} images, {size / 1e6:.1f} MB, {size / max(1, shown) / 1e3:.0f} kB an image")
    print(results.page)
    return 0 if results.complete else 1
