"""One heat map per concept beside the image, as in the figures of the ConceptAttention paper."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from ca_seg.visual.drawing import font, resized, wrapped

TILE = 224  # pixels of a tile's long side
TILES_PER_ROW = 6
MIN_SLOT = 152  # pixels of width for a label
GAP = 8  # pixels between tiles
LINE = 17  # pixels of height of a line of a label
NOTE = "Each map from its own lowest value (dark) to its highest (bright)."


def heatmap_strip(image: np.ndarray, maps: np.ndarray, names: Sequence[str]) -> Image.Image:
    """An image and its maps in a row, each map from its lowest value (dark) to its highest (bright).

    Each map has its own scale, so both values are printed under it: a bright spot may be as low as 0.02.

    Args:
        image: uint8 [H, W, 3]
        maps: float [C, h, w]
        names: of the C concepts
    """
    scale = TILE / max(image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    slot, letters = max(width, MIN_SLOT), font(14)
    tiles = [(resized(image, height, width), ["image"])]
    for values, name in zip(maps, names, strict=True):
        label = [*wrapped(name, slot, letters, lines=2), value_range(values)]
        tiles.append((heatmap(values, height, width), label))
    label_height = LINE * max(len(label) for _, label in tiles) + 6
    columns = min(TILES_PER_ROW, len(tiles))
    rows = -(-len(tiles) // columns)
    total_width = columns * (slot + GAP) + GAP
    note = wrapped(NOTE, total_width - 2 * GAP, font(12), lines=3)
    bottom = GAP + rows * (height + label_height + GAP)
    canvas = Image.new("RGB", (total_width, bottom + 15 * len(note) + 4), "white")
    draw = ImageDraw.Draw(canvas)
    for number, (tile, label) in enumerate(tiles):
        x, y = GAP + number % columns * (slot + GAP), GAP + number // columns * (height + label_height + GAP)
        canvas.paste(tile, (x + (slot - width) // 2, y))
        for line, text in enumerate(label):
            position = (x + slot / 2, y + height + 3 + line * LINE)
            draw.text(position, text, fill=(20, 20, 20), font=letters, anchor="ma")
    for line, text in enumerate(note):
        draw.text((GAP, bottom + 15 * line), text, fill=(110, 110, 110), font=font(12))
    return canvas


def heatmap(values: np.ndarray, height: int, width: int) -> Image.Image:
    """One map [h, w] as a picture, from its lowest value (dark) to its highest (bright)."""
    low, high = float(values.min()), float(values.max())
    relative = (values - low) / max(high - low, 1e-12)
    smooth = Image.fromarray(relative.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    return Image.fromarray((matplotlib.colormaps["magma"](np.asarray(smooth))[..., :3] * 255).astype(np.uint8))


def value_range(values: np.ndarray) -> str:
    """The lowest and highest value, with two decimals, or as powers of ten where two decimals would hide them."""
    low, high = float(values.min()), float(values.max())
    large = max(abs(low), abs(high))
    form = ".2f" if large == 0 or 0.01 <= large < 10_000 else ".1e"
    return f"{low:{form}} to {high:{form}}"
