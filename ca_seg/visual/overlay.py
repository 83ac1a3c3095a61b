"""An image with its classes laid over it in colour, and a legend beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from ca_seg.visual.drawing import cut, font, resized, shown_size
from ca_seg.visual.palette import colour

NONE = 255
ROWS = 12  # rows of a legend that are shown however low the image is


def overlay(
    image: np.ndarray,
    mask: np.ndarray,
    names: Sequence[str],
    *,
    alpha: float = 0.55,
    legend: bool = True,
    colours: Sequence[int] | None = None,
    asked: Sequence[int] = (),
    rgb: Sequence[tuple[int, int, int]] | None = None,
) -> Image.Image:
    """`image` uint8 [H, W, 3] under `mask` [H, W] of class indices (255: no class), outlines between classes.

    The legend names the classes that are there, largest first, with their fraction of the image, and then those of
    `asked` that are not. `colours` gives each class its index in the palette (default: its own index), so that a class
    looks alike in several images; `rgb` gives each class its colour itself.
    """
    height, width = shown_size(*mask.shape)
    enlarged = np.asarray(resized(image, height, width), np.float32)
    large = np.asarray(Image.fromarray(mask.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST))
    palette = rgb or [colour(i if colours is None else colours[i]) for i in range(len(names))]
    table = np.array(palette, np.float32)
    inside = large != NONE
    painted = enlarged.copy()
    painted[inside] = (1 - alpha) * enlarged[inside] + alpha * table[large[inside]]
    edges = np.zeros_like(inside)
    edges[:, 1:] |= large[:, 1:] != large[:, :-1]
    edges[1:] |= large[1:] != large[:-1]
    painted[edges] = 255
    result = Image.fromarray(painted.astype(np.uint8))
    if not legend:
        return result
    counts = np.bincount(mask[mask != NONE].astype(np.int64), minlength=len(names))
    rows = [i for i in np.argsort(-counts, kind="stable").tolist() if counts[i] or i in asked]
    return _beside(
        result, [(tuple(table[i].astype(int).tolist()), names[i], _percent(counts[i] / mask.size)) for i in rows]
    )


def _percent(fraction: float) -> str:
    return "0 %" if fraction == 0 else f"{100 * fraction:.0f} %" if fraction >= 0.005 else "< 1 %"


def _beside(image: Image.Image, rows: Sequence[tuple[tuple[int, int, int], str, str]]) -> Image.Image:
    """The image and right of it colour, name and share of each row. A low image gets room below it for the rows."""
    size = max(14, min(image.height, 2 * image.width) // 26)
    line, letters = round(1.7 * size), font(size)
    room = max(ROWS, image.height // line - 1)
    shown, over = rows[:room], len(rows) - room
    if over > 0:
        shown, over = rows[: room - 1], over + 1
    widest = max(image.width // 2, 16 * size)
    texts = [f"{cut(name, widest, letters)}  {share}" for _, name, share in shown]
    texts += [f"and {over} more"] if over > 0 else []
    wide = round(max([letters.getlength(text) for text in texts], default=0)) + 3 * size
    canvas = Image.new("RGB", (image.width + wide, max(image.height, (len(texts) + 1) * line)), "white")
    canvas.paste(image)
    draw = ImageDraw.Draw(canvas)
    for number, text in enumerate(texts):
        x, y = image.width + size // 2, size // 2 + number * line
        if number < len(shown):
            draw.rectangle((x, y, x + size, y + size), fill=shown[number][0], outline=(120, 120, 120))
        draw.text((x + round(1.5 * size), y + size / 2), text, fill=(20, 20, 20), font=letters, anchor="lm")
    return canvas
