"""An image with its classes laid over it in colour, and a legend beside it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from PIL import Image, ImageDraw

from ca_seg.visual.drawing import font, resized, shortened, shown_size
from ca_seg.visual.palette import colour
from ca_seg.vocabulary import IGNORE_INDEX

MIN_LEGEND_ROWS = 12  # rows that fit, however low the image is
LegendRow = tuple[tuple[int, int, int], str, str]  # colour, name, fraction of the image as text


def overlay(
    image: np.ndarray,
    mask: np.ndarray,
    names: Sequence[str],
    *,
    alpha: float = 0.55,
    legend: bool = True,
    colours: Sequence[int] | None = None,
    asked: Collection[int] = (),
    rgb: Sequence[tuple[int, int, int]] | None = None,
) -> Image.Image:
    """An image with its mask laid over it, white outlines between classes, and a legend.

    Small images are enlarged, huge ones reduced.

    Args:
        image: uint8 [H, W, 3]
        mask: integers [H, W], class indices, or IGNORE_INDEX (255) where nothing is painted
        names: of the K classes
        alpha: weight of the class colour, 0..1
        legend: the classes of the mask, largest first, with their fraction of the image
        colours: the number of each class in the palette, for one colour in several images; None: its index
        asked: classes that are in the legend even if they have no pixel ("0 %")
        rgb: the colour of each class, 0..255; None: those of the palette

    Returns:
        The overlay, in RGB.

    Example:
        >>> overlay(np.asarray(photo), mask, ["cat", "grass"]).save("overlay.png")
    """
    height, width = shown_size(*mask.shape)
    enlarged = np.asarray(resized(image, height, width))
    large = np.asarray(Image.fromarray(mask.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST))
    palette = rgb or [colour(i if colours is None else colours[i]) for i in range(len(names))]
    table = np.array(palette, np.float32)
    paint, kept = np.zeros((IGNORE_INDEX + 1, 3), np.float32), np.full(IGNORE_INDEX + 1, 1 - alpha, np.float32)
    paint[: len(table)], kept[IGNORE_INDEX] = alpha * table, 1
    painted = kept[large][..., None] * enlarged
    painted += paint[large]
    edges = np.zeros(large.shape, bool)
    edges[:, 1:] |= large[:, 1:] != large[:, :-1]
    edges[1:] |= large[1:] != large[:-1]
    painted[edges] = 255
    result = Image.fromarray(painted.astype(np.uint8))
    if not legend:
        return result
    counts = np.bincount(mask.ravel().astype(np.uint8), minlength=IGNORE_INDEX + 1)[: len(names)]
    rows: list[LegendRow] = []
    for index in np.argsort(-counts, kind="stable").tolist():
        if counts[index] or index in asked:
            red, green, blue = table[index].astype(int).tolist()
            rows.append(((red, green, blue), names[index], _percent(counts[index] / mask.size)))
    return with_legend(result, rows)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %" if fraction >= 0.005 or fraction == 0 else "< 1 %"


def with_legend(image: Image.Image, rows: Sequence[LegendRow]) -> Image.Image:
    """The image with the rows on its right. A low image is extended downwards for the rows."""
    size = max(14, min(image.height, 2 * image.width) // 26)
    line, letters = round(1.7 * size), font(size)
    capacity = max(MIN_LEGEND_ROWS, image.height // line - 1)
    shown, rest = rows[:capacity], len(rows) - capacity
    if rest > 0:
        shown, rest = rows[: capacity - 1], rest + 1
    max_name = max(image.width // 2, 16 * size)
    texts = [f"{shortened(name, max_name, letters)}  {fraction}" for _, name, fraction in shown]
    texts += [f"and {rest} more"] if rest > 0 else []
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
