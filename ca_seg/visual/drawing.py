"""Text and sizes of images that are shown, with the font that matplotlib ships."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageFont

MIN_SIDE, MAX_SIDE = 384, 1600  # pixels of the long side of an image as it is shown


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans of `size` pixels."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def shortened(text: str, width: float, letters: ImageFont.FreeTypeFont) -> str:
    """The text, or its beginning and an ellipsis if it is wider than `width` pixels."""
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def wrapped(text: str, width: float, letters: ImageFont.FreeTypeFont, lines: int) -> list[str]:
    """The text broken between words into at most `lines` lines of `width` pixels; the rest is left out."""
    done: list[str] = []
    words = text.split()
    while words and len(done) < lines - 1:
        count = 1
        while count < len(words) and letters.getlength(" ".join(words[: count + 1])) <= width:
            count += 1
        done.append(shortened(" ".join(words[:count]), width, letters))
        words = words[count:]
    return [*done, shortened(" ".join(words), width, letters)] if words else done


def shown_size(height: int, width: int) -> tuple[int, int]:
    """Height and width at which an image is shown: small images are enlarged, huge ones reduced."""
    long = max(height, width)
    scale = min(MAX_SIDE, max(MIN_SIDE, long)) / long
    return max(1, round(height * scale)), max(1, round(width * scale))


def resized(image: np.ndarray, height: int, width: int) -> Image.Image:
    """An image uint8 [H, W, 3] at another size, bicubic."""
    return Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
