"""Text on images, with the font that matplotlib brings along."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageFont

SMALLEST, LARGEST = 384, 1600  # pixels of the long side of an image as it is shown


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def cut(text: str, width: float, letters: ImageFont.FreeTypeFont) -> str:
    """`text`, or its beginning and an ellipsis when it is longer than `width` pixels."""
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def wrapped(text: str, width: float, letters: ImageFont.FreeTypeFont, lines: int) -> list[str]:
    """`text` broken between words into at most `lines` lines of `width` pixels; what is over is cut."""
    done, words = [], text.split()
    while words and len(done) < lines - 1:
        count = 1
        while count < len(words) and letters.getlength(" ".join(words[: count + 1])) <= width:
            count += 1
        done.append(cut(" ".join(words[:count]), width, letters))
        words = words[count:]
    return [*done, cut(" ".join(words), width, letters)] if words else done


def shown_size(height: int, width: int) -> tuple[int, int]:
    """Height and width at which an image is shown: small ones are enlarged, huge ones made smaller."""
    long = max(height, width)
    scale = min(LARGEST, max(SMALLEST, long)) / long
    return max(1, round(height * scale)), max(1, round(width * scale))


def resized(image: np.ndarray, height: int, width: int) -> Image.Image:
    """uint8 [H, W, 3] at another size, bicubic."""
    return Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
