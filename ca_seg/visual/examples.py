"""One picture of several images, for a README or a paper: each beside its ground truth and its prediction.

title of the first image
┌─────────┐  ┌──────────────┐  ┌────────────┐
│  image  │  │ ground truth │  │ prediction │
└─────────┘  └──────────────┘  └────────────┘
              ■ cat  ■ grass    ■ cat  ■ sky
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from ca_seg.visual.drawing import font, resized, shortened, wrapped
from ca_seg.visual.method_grid import class_colours
from ca_seg.visual.overlay import overlay
from ca_seg.visual.palette import colour
from ca_seg.vocabulary import IGNORE_INDEX

COLUMN = 290  # pixels of width of a column, and of height of an image at most
GAP = 12  # pixels between columns, and around the picture
LINE = 21  # pixels of height of a line of text
CHIP = 13  # pixels of the side of a legend's square
LEGEND_LINES = 3
HEADINGS = ("image", "ground truth", "prediction")
LEFT = [number * (COLUMN + GAP) for number in range(len(HEADINGS))]  # of each column, in pixels
WIDTH = LEFT[-1] + COLUMN
INK, DIM = (20, 20, 20), (110, 110, 110)


@dataclass(frozen=True)
class Example:
    """An image with its ground truth and its prediction.

    Args:
        title: a line above the image
        image: uint8 [H, W, 3]
        ground_truth: class indices [H, W]; IGNORE_INDEX (255) is void
        prediction: class indices [H, W]
        names: of the K classes
    """

    title: str
    image: np.ndarray
    ground_truth: np.ndarray
    prediction: np.ndarray
    names: tuple[str, ...]

    @cached_property
    def colours(self) -> list[int]:
        """The number of each of the K classes in the palette. Those that occur come first, in the clearest colours."""
        return class_colours((self.ground_truth, self.prediction), len(self.names))

    def overlay(self, mask: np.ndarray, *, legend: bool = True) -> Image.Image:
        """The image with one of its masks laid over it; a class has the same colour in both."""
        return overlay(self.image, mask, self.names, colours=self.colours, legend=legend)


def examples_picture(examples: Sequence[Example], note: str = "") -> Image.Image:
    """Draw examples below each other, each as image, ground truth and prediction, with the names of the classes.

    Args:
        examples: from top to bottom
        note: a line below them, such as how they were chosen

    Returns:
        The picture, in RGB, about 900 pixels wide.
    """
    rows = [_row(example) for example in examples]
    lines = wrapped(note, WIDTH, font(13), lines=3)
    canvas = Image.new("RGB", (WIDTH, LINE + sum(row.height for row in rows) + LINE * len(lines)), "white")
    draw = ImageDraw.Draw(canvas)
    for left, heading in zip(LEFT, HEADINGS, strict=True):
        draw.text((left, 0), heading, fill=DIM, font=font(13))
    top = LINE
    for row in rows:
        canvas.paste(row, (0, top))
        top += row.height
    for number, line in enumerate(lines):
        draw.text((0, top + number * LINE), line, fill=DIM, font=font(13))
    return ImageOps.expand(canvas, GAP, "white")


def _row(example: Example) -> Image.Image:
    scale = COLUMN / max(example.image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in example.image.shape[:2])
    masks = (example.ground_truth, example.prediction)
    views = [resized(example.image, height, width)]
    views += [example.overlay(mask, legend=False).resize((width, height), Image.Resampling.LANCZOS) for mask in masks]
    below = [_legend(example, mask) for mask in masks]
    legend_top = LINE + height + 5
    canvas = Image.new("RGB", (WIDTH, legend_top + max(legend.height for legend in below) + GAP), "white")
    ImageDraw.Draw(canvas).text((0, 0), shortened(example.title, WIDTH, font(14)), fill=INK, font=font(14))
    for left, view in zip(LEFT, views, strict=True):
        canvas.paste(view, (left, LINE))
    for left, legend in zip(LEFT[1:], below, strict=True):
        canvas.paste(legend, (left, legend_top))
    return canvas


def _legend(example: Example, mask: np.ndarray) -> Image.Image:
    """Square and name of each class of a mask, largest first; what does not fit is counted."""
    counts = np.bincount(mask[mask != IGNORE_INDEX].astype(np.int64), minlength=len(example.names))
    order = [index for index in np.argsort(-counts, kind="stable").tolist() if counts[index]]
    letters, last = font(13), (LEGEND_LINES - 1) * LINE
    canvas = Image.new("RGB", (COLUMN, LEGEND_LINES * LINE), "white")
    draw = ImageDraw.Draw(canvas)
    x, y = 0, 0
    for place, index in enumerate(order):
        rest = f"and {len(order) - place} more"
        name = shortened(example.names[index], COLUMN - CHIP - 5, letters)
        end = x + CHIP + 5 + round(letters.getlength(name))
        if x and end > COLUMN and y < last:
            x, y, end = 0, y + LINE, end - x
        needed = end if place == len(order) - 1 or y < last else end + GAP + letters.getlength(rest)
        if needed > COLUMN:
            draw.text((x, y), rest, fill=DIM, font=letters)
            break
        draw.rectangle((x, y + 2, x + CHIP, y + 2 + CHIP), fill=colour(example.colours[index]), outline=(120, 120, 120))
        draw.text((x + CHIP + 5, y), name, fill=INK, font=letters)
        x = end + GAP
    return canvas.crop((0, 0, COLUMN, y + LINE))
