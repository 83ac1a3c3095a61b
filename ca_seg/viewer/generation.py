"""Generate a picture, and give the maps of its words after each step while the next one runs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL.Image import Image

from ca_seg.backbones.generate import Generated, generate
from ca_seg.backbones.text.caption_words import words_of_caption
from ca_seg.backbones.text.word_list import shipped_table
from ca_seg.errors import UserError
from ca_seg.jobs.segmenter import SegmentSettings
from ca_seg.viewer.backbones import Backbones
from ca_seg.viewer.limits import check_generation


@dataclass(frozen=True, eq=False)
class GenerationStep:
    """One step of a generation.

    Args:
        number: of the step, from 1
        steps: how many there are
        words: of the maps
        maps: of this step, float [K, h, w]
        image: the picture, after the last step; None before
    """

    number: int
    steps: int
    words: tuple[str, ...]
    maps: np.ndarray
    image: Image | None


def generation_steps(
    backbones: Backbones,
    settings: SegmentSettings,
    prompt: str,
    words: Sequence[str],
    *,
    steps: int = 8,
    side: int | None = None,
    seed: int = 0,
) -> Iterator[GenerationStep]:
    """Generate a square picture step by step; the last step comes with the picture.

    A generation whose iterator is closed, as when a browser leaves, stops after the step that runs.

    Args:
        backbones: the loaded ones
        settings: the backbone and its layers
        prompt: what to generate
        words: whose maps are wanted; none: the things that the prompt names
        steps: of the scheduler
        side: pixels of the picture; None: the card's resolution
        seed: of the noise

    Raises:
        UserError: for a backbone that cannot generate, and for words, a prompt or numbers that cannot be used
    """
    words = words or words_of_caption(prompt, shipped_table())
    if prompt.strip() and not words:
        raise UserError(
            "the prompt names nothing that could be shown", fix="type words on the left, such as: cat, grass"
        )
    with backbones.computing:
        backbone = backbones.get(settings)
    if backbone.family.video:
        raise UserError(f"{backbone.card.name} generates videos", fix="use ca_seg.generate in Python")
    side = backbone.card.resolution if side is None else side
    check_generation(prompt, steps, side)
    settings.check_words(words, backbone)
    done: queue.Queue[tuple[int, torch.Tensor] | Generated | Exception] = queue.Queue()
    left = threading.Event()

    def keep(number: int, maps: torch.Tensor) -> None:
        if left.is_set():
            raise InterruptedError("nobody waits for this picture")
        done.put((number, maps))

    def run() -> None:
        try:
            with backbones.computing:  # held here, for an abandoned iterator would never let it go
                generation = generate(
                    backbone,
                    prompt,
                    list(words),
                    height=side,
                    width=side,
                    steps=steps,
                    seed=seed,
                    layers=settings.layers,
                    on_step=keep,
                )
            done.put(generation)
        except Exception as problem:  # raised again in the thread that asked
            done.put(problem)

    threading.Thread(target=run, daemon=True).start()
    last: GenerationStep | None = None
    try:
        while True:
            item = done.get()
            if isinstance(item, Exception):
                raise item
            if isinstance(item, Generated):
                break
            last = GenerationStep(item[0], steps, tuple(words), item[1][0].float().cpu().numpy(), None)
            yield last
    finally:
        left.set()
    if last is not None:
        yield replace(last, image=item.images[0])
