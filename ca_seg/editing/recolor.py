"""Another colour for a region, without a model: light, shade and texture stay."""

from __future__ import annotations

import numpy as np
from PIL import Image


def recolored(pixels: np.ndarray, inside: np.ndarray, rgb: tuple[int, int, int]) -> np.ndarray:
    """The picture in one colour; inside the region it is on average as bright as that colour.

    In luma and chroma (ITU-R BT.601, as in JPEG) the chroma becomes the colour's, and the luma of each pixel

        Y' = Y - mean of Y inside the region + Y of the colour

    Args:
        pixels: uint8 [H, W, 3]
        inside: bool [H, W], not empty
        rgb: the colour, 0..255

    Returns:
        uint8 [H, W, 3]; what is outside the region means nothing
    """
    luma = np.asarray(Image.fromarray(pixels).convert("YCbCr"))[..., 0].astype(np.float32)
    target = np.asarray(Image.new("RGB", (1, 1), rgb).convert("YCbCr"))[0, 0]
    shifted = (luma - luma[inside].mean() + target[0]).round().clip(0, 255).astype(np.uint8)
    chroma = np.broadcast_to(target[1:], (*luma.shape, 2))
    return np.asarray(Image.fromarray(np.dstack([shifted, chroma]), mode="YCbCr").convert("RGB"))
