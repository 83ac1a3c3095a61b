"""One heat map per concept beside the picture, as in the paper's figures."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from ca_seg.visual.drawing import font, resized

TILE, ROW = 224, 6  # pixels of a tile's long side; tiles in a row


def heatmap_strip(image: np.ndarray, maps: np.ndarray, names: Sequence[str]) -> Image.Image:
    """`image` uint8 [H, W, 3], then `maps` float [C, h, w], each from its own smallest (dark) to its largest (bright).

    Because each map has a scale of its own, the two numbers are printed under it: a bright spot of 0.02 is no finding.
    """
    scale = TILE / max(image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    tiles = [(resized(image, height, width), "picture")]
    for values, name in zip(maps, names, strict=True):
        low, high = float(values.min()), float(values.max())
        share = (values - low) / max(high - low, 1e-12)
        smooth = Image.fromarray(share.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
        heat = (matplotlib.colormaps["magma"](np.asarray(smooth))[..., :3] * 255).astype(np.uint8)
        tiles.append((Image.fromarray(heat), f"{name}\n{low:.2f} to {high:.2f}"))
    gap, foot = 8, 40
    columns = min(ROW, len(tiles))
    rows = -(-len(tiles) // columns)
    canvas = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + foot + gap) + gap), "white")
    draw = ImageDraw.Draw(canvas)
    for number, (tile, label) in enumerate(tiles):
        x, y = gap + number % columns * (width + gap), gap + number // columns * (height + foot + gap)
        canvas.paste(tile, (x, y))
        draw.multiline_text(
            (x + width / 2, y + height + 3), label, fill=(20, 20, 20), font=font(14), anchor="ma", align="center"
        )
    return canvas
