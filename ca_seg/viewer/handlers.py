"""What the page does at each event: from values of controls to what is shown. Nothing here needs gradio.

A tab asks first (`ask`); everything else is about what it then shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from ca_seg.errors import UserError
from ca_seg.jobs.segmenter import SegmentSettings
from ca_seg.viewer import html
from ca_seg.viewer.answer import Answer, answer
from ca_seg.viewer.backbones import Backbones
from ca_seg.viewer.clip import overlay_frame, segment_clip
from ca_seg.viewer.command import command_line, python_block
from ca_seg.viewer.comparison import agreement
from ca_seg.viewer.controls import Controls
from ca_seg.viewer.export import CUTOUT, export
from ca_seg.viewer.generation import generation_steps
from ca_seg.viewer.limits import parse_words
from ca_seg.viewer.pixel import classes_at
from ca_seg.viewer.strip import layer_strip, timestep_strip
from ca_seg.viewer.tab import Tab

Plain = dict[str, Any]  # JSON
EMPTY = '<div class="ca-empty">Drop or paste a photograph, and type words.</div>'


class Shown:
    """What a tab shows after a question: the facts as JSON, a status, the overlay with its legend, heat maps."""

    def __init__(self, facts: Plain, status: str, stage: str = "", heat: str = "", line: str = "", block: str = ""):
        self.facts, self.status, self.stage, self.heat, self.line, self.block = facts, status, stage, heat, line, block


class Handlers:
    """The events of the page.

    Args:
        backbones: the loaded ones
    """

    def __init__(self, backbones: Backbones) -> None:
        self.backbones = backbones

    def ask(self, tab: Tab, photo: str | None, words: str, controls: Controls) -> Shown:
        """Words for a photograph. Raises UserError; nothing is shown then."""
        tab.controls, tab.answer = controls, None
        tab.words = parse_words(words, tab.start.max_words)
        if photo is None:
            raise UserError("there is no picture", fix="give one")
        picture = tab.session.picture(photo)
        tab.answer = answer(tab.session, self.backbones, picture, tab.words, tab.settings)
        if tab.isolated not in tab.answer.segmentation.classes:
            tab.isolated = None
        return self.shown(tab)

    def follow(self, tab: Tab, photo: str | None, words: str, controls: Controls) -> Shown:
        """As `ask`, while one types: a problem is shown, beside the last answer for the same photograph."""
        last = tab.answer
        if photo is None:
            tab.answer = None
            return Shown({}, "", EMPTY)
        try:
            picture = tab.session.picture(photo)
            if not words.strip(", \n"):
                tab.controls, tab.answer, tab.words = controls, None, ()
                return Shown({}, '<p class="ca-time">Type words, separated by commas.</p>', html.plain(picture))
            return self.ask(tab, photo, words, controls)
        except (UserError, MemoryError, RuntimeError) as problem:
            text = message(problem)
        if last is None or str(last.picture.image.path) != photo:
            known = tab.session.has(photo)
            stage = html.plain(tab.session.picture(photo)) if known else EMPTY
            return Shown({"error": text}, html.problem(text), stage)
        tab.answer = last
        shown = self.shown(tab)
        note = html.problem(f"{text} What is shown is the answer for: {', '.join(last.words)}.")
        return Shown({"error": text}, note, shown.stage, shown.heat, shown.line, shown.block)

    def shown(self, tab: Tab) -> Shown:
        """The answer of the tab once more. Raises UserError where there is none."""
        asked = tab.shown()
        segmentation = asked.segmentation
        seconds = {"record": asked.record_seconds, "ask": asked.ask_seconds}
        line, block = self.commands(asked)
        return Shown(
            segmentation.as_dict() | {"seconds": seconds},
            html.status(asked),
            html.stage(asked, tab.isolated),
            html.heat_tiles(segmentation),
            line,
            block,
        )

    @staticmethod
    def commands(asked: Answer) -> tuple[str, str]:
        """The command and the Python block for what is shown."""
        given = (asked.picture.place, asked.words, asked.settings)
        try:
            return command_line(*given), python_block(*given)
        except UserError as problem:
            return f"# {problem}", python_block(*given)

    def isolate(self, tab: Tab, name: str) -> str:
        """The overlay with one class alone; with all of them where it is alone already."""
        asked = tab.shown()
        asked.segmentation.index(name)  # raises UnknownName
        tab.isolated = None if tab.isolated == name else name
        return html.stage(asked, tab.isolated)

    def pixel(self, tab: Tab, x: float, y: float) -> tuple[str, Plain]:
        """The classes of a pixel, as bars and as JSON."""
        winner, pairs = classes_at(tab.shown().segmentation, int(x), int(y))
        return html.pixel_bars(int(x), int(y), winner, pairs), {"class": winner, "probabilities": dict(pairs)}

    def strip(self, tab: Tab, kind: str) -> tuple[str, str]:
        """Maps of every layer ("layers") or of several timesteps ("timesteps"), as a table and as a file of arrays."""
        asked = tab.shown()
        make = layer_strip if kind == "layers" else timestep_strip
        strip = make(tab.session, self.backbones, asked.picture, asked.words, asked.settings)
        path = tab.session.new_folder() / f"{asked.segmentation.image_id.replace('/', '_')}_{kind}.npz"
        maps = dict(zip(strip.columns, strip.maps, strict=True))
        np.savez_compressed(path, words=np.array(strip.words), **maps)  # type: ignore[arg-type]
        return html.strip_table(strip, *asked.segmentation.pixels.shape[:2]), str(path)

    def compare(self, tab: Tab, controls: Controls) -> tuple[Image, Image, Plain]:
        """What is shown, the same words with other settings, and how much they agree."""
        first = tab.shown()
        settings = controls.settings(tab.start, tab.start.max_words)
        second = answer(tab.session, self.backbones, first.picture, first.words, settings)
        both = agreement(first.segmentation, second.segmentation)
        facts = {"same_class": both.pixels, "iou": both.classes, "seconds": second.ask_seconds + second.record_seconds}
        return html.shown_image(first.segmentation), html.shown_image(second.segmentation), facts

    def generate(
        self, tab: Tab, prompt: str, steps: float, side: float, seed: float
    ) -> Iterator[tuple[str, Image | None]]:
        """A generated picture: its maps after each step, and at the end the picture."""
        tab.steps = []
        size = int(side) or None
        updates = generation_steps(
            self.backbones, tab.settings, prompt, tab.words, steps=int(steps), side=size, seed=int(seed)
        )
        for step in updates:
            tab.steps = [*tab.steps[: step.number - 1], step]
            yield self.step(tab, step.number), step.image

    @staticmethod
    def step(tab: Tab, number: float) -> str:
        """The maps of one step of the last generation, from 1."""
        if not tab.steps:
            raise UserError("nothing was generated", fix="press Generate")
        step = tab.steps[min(max(1, int(number)), len(tab.steps)) - 1]
        label = f'<p class="ca-time">Step {step.number} of {step.steps}</p>'
        return label + html.map_tiles(step.maps, step.words)

    def clip(self, tab: Tab, path: str | None) -> tuple[str, Plain]:
        """The overlay of a video, and how many frames it has."""
        if path is None:
            raise UserError("there is no video", fix="upload one")
        clip = segment_clip(
            self.backbones, Path(path), tab.words, tab.settings, tab.start, tab.session.new_folder() / "video"
        )
        tab.clip = clip.overlay
        return str(clip.overlay), {"frames": clip.frames, "classes": list(clip.classes)}

    @staticmethod
    def frame(tab: Tab, number: float) -> Image:
        """One frame of the overlay of the last video, from 0."""
        if tab.clip is None:
            raise UserError("there is no segmented video", fix="press Segment video")
        return overlay_frame(tab.clip, int(number))

    def save(self, tab: Tab, formats: Sequence[str], cutout: str | None) -> list[str]:
        """The files of what is shown."""
        names = tuple(name for name in formats if name != CUTOUT)
        return [str(path) for path in export(tab.shown(), tab.session.new_folder(), names, cutout or None)]

    def load(self, tab: Tab, controls: Controls) -> str:
        """Load a backbone, however large; a sentence about it."""
        settings = self._alone(tab, controls)
        backbone = self.backbones.load(settings)
        return f"{backbone.card.name} is loaded, {backbone.layers} layers."

    def estimate(self, tab: Tab, controls: Controls) -> str:
        """The memory of a backbone, before it is loaded."""
        settings = self._alone(tab, controls)
        text = self.backbones.estimate(settings)
        return f"{text}." if self.backbones.is_ready(settings) else f"Not loaded. {text}."

    @staticmethod
    def _alone(tab: Tab, controls: Controls) -> SegmentSettings:
        return replace(controls, layers=(), timestep=None).settings(tab.start, tab.start.max_words)


def message(problem: Exception) -> str:
    """One clear sentence. Raises a problem again that is a fault of the program."""
    if isinstance(problem, UserError):
        return str(problem)
    if isinstance(problem, MemoryError) or "out of memory" in str(problem) or "can't allocate memory" in str(problem):
        return "There is not enough memory. Take a smaller picture, a lower resolution, or fewer words."
    raise problem
