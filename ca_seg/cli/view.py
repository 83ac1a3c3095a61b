"""`ca-seg view [PHOTO ...]`: the live viewer, a local web page."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from ca_seg.cli.parser import JobParser
from ca_seg.cli.stopping import when_stopped
from ca_seg.data.inputs import looks_like_image
from ca_seg.errors import UserError, WordsWarning
from ca_seg.viewer.server import view
from ca_seg.viewer.settings import ViewSettings

DESCRIPTION = (
    "The live viewer: ca-seg view [PHOTO ...] opens a local web page on which words are typed, and masks follow. "
    "Without a photograph it offers those that ship with ca_seg. Ctrl+C stops it."
)


def run(arguments: Sequence[str]) -> int:
    """0 when the viewer is stopped."""
    parser = JobParser("ca-seg view", DESCRIPTION, ViewSettings)
    settings, positional = parser.parse_with_positional(arguments)
    for text in positional:
        if not looks_like_image(text):
            raise UserError(f"{text!r} is no file", allowed="photographs", fix="words: --concepts cat grass")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WordsWarning)  # the page says it
        closed = when_stopped(lambda: "the viewer is closed; what was saved from its page stays")
        with closed, view(list(positional), settings=settings) as viewer:
            print("Ctrl+C stops the viewer.")
            print(viewer.url, flush=True)
            viewer.wait()
    return 0
