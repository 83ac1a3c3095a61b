"""One heat map per concept beside the image, as in the paper's figures."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from ca_seg.visual.drawing import font, resized, wrapped

TILE, ROW = 224, 6  # pixels of a tile's long side; tiles in a row
NARROWEST, GAP, LINE = 152, 8, 17  # room for a label; between tiles; height of a label's line
NOTE = "Each map from its own lowest value (dark) to its highest (bright)."


def heatmap_strip(image: np.ndarray, maps: np.ndarray, names: Sequence[str]) -> Image.Image:
    """`image` uint8 [H, W, 3], then `maps` float [C, h, w], each from its own smallest (dark) to its largest (bright).

    Because each map has a scale of its own, the two numbers are printed under it: a bright spot of 0.02 is no finding.
    """
    scale = TILE / max(image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    slot, letters = max(width, NARROWEST), font(14)
    tiles = [(resized(image, height, width), ["image"])]
    for values, name in zip(maps, names, strict=True):
        low, high = float(values.min()), float(values.max())
        share = (values - low) / max(high - low, 1e-12)
        smooth = Image.fromarray(share.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
        heat = (matplotlib.colormaps["magma"](np.asarray(smooth))[..., :3] * 255).astype(np.uint8)
        label = [*wrapped(name, slot, letters, lines=2), _range(low, high)]
        tiles.append((Image.fromarray(heat), label))
    foot = LINE * max(len(label) for _, label in tiles) + 6
    columns = min(ROW, len(tiles))
    rows = -(-len(tiles) // columns)
    across = columns * (slot + GAP) + GAP
    note = wrapped(NOTE, across - 2 * GAP, font(12), lines=3)
    down = GAP + rows * (height + foot + GAP)
    canvas = Image.new("RGB", (across, down + 15 * len(note) + 4), "white")
    draw = ImageDraw.Draw(canvas)
    for number, (tile, label) in enumerate(tiles):
        x, y = GAP + number % columns * (slot + GAP), GAP + number // columns * (height + foot + GAP)
        canvas.paste(tile, (x + (slot - width) // 2, y))
        for line, text in enumerate(label):
            place = (x + slot / 2, y + height + 3 + line * LINE)
            draw.text(place, text, fill=(20, 20, 20), font=letters, anchor="ma")
    for line, text in enumerate(note):
        draw.text((GAP, down + 15 * line), text, fill=(110, 110, 110), font=font(12))
    return canvas


def _range(low: float, high: float) -> str:
    """Two decimals, or powers of ten where two decimals would hide the numbers."""
    large = max(abs(low), abs(high))
    form = ".2f" if large == 0 or 0.01 <= large < 10_000 else ".1e"
    return f"{low:{form}} to {high:{form}}"
