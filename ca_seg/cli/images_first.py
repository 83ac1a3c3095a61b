"""Looks for the images of `ca-seg segment` before anything heavy is imported: a missing photograph is said at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile

from ca_seg.data.inputs import looks_like_image, open_images


def run_segment(arguments: Sequence[str]) -> int:
    """As `ca-seg segment`. Raises UnreadableImage for an image in front of all options that is missing."""
    images = list(_in_front(arguments))
    if images:
        open_images(images)
    from ca_seg.cli.segment import run  # here: it imports torch, diffusers and transformers

    return run(arguments)


def _in_front(arguments: Sequence[str]) -> Iterator[str]:
    """The images before the first option."""
    return filter(looks_like_image, takewhile(lambda text: text == "-" or not text.startswith("-"), arguments))
