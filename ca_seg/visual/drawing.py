"""Text on pictures, with the font that matplotlib brings along."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageFont

SMALLEST, LARGEST = 384, 1600  # pixels of the long side of a picture as it is shown


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def shown_size(height: int, width: int) -> tuple[int, int]:
    """Height and width at which a picture is shown: small ones are enlarged, huge ones made smaller."""
    long = max(height, width)
    scale = min(LARGEST, max(SMALLEST, long)) / long
    return max(1, round(height * scale)), max(1, round(width * scale))


def resized(image: np.ndarray, height: int, width: int) -> Image.Image:
    """uint8 [H, W, 3] at another size, bicubic."""
    return Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
