"""Other colours and flatter shading for scenes, so that self-training does not narrow `mini` to one drawing style.

    colours   hue, saturation, brightness and contrast moved a little, the light tinted      two views in five
    grey      no colour at all                                                               one in twenty
    flat      the shading smoothed away, as a drawing has it                                 one in five

The labels of a scene stay true: nothing moves.
"""

from __future__ import annotations

import cv2
import numpy as np

COLOURS, GREY, FLAT = 0.4, 0.05, 0.2  # fractions of the views
HUE = 12  # degrees, at most


def restyled(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image in other colours or flatter, or as it is: uint8 [H, W, 3]."""
    if rng.random() < FLAT:
        image = cv2.medianBlur(image, int(rng.choice((3, 5))))
    draw = rng.random()
    if draw < GREY:
        return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    return recoloured(image, rng) if draw < GREY + COLOURS else image


def recoloured(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Hue, saturation, contrast, brightness and tint moved at random: uint8 [H, W, 3]."""
    hsv = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(-HUE, HUE)) % 360
    hsv[..., 1] = (hsv[..., 1] * rng.uniform(0.6, 1.6)).clip(0, 1)
    colours = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    contrast, brightness, tint = rng.uniform(0.75, 1.3), rng.uniform(-0.1, 0.1), rng.uniform(0.93, 1.07, 3)
    colours = ((colours - 0.5) * contrast + 0.5 + brightness) * tint.astype(np.float32)
    return (colours * 255 + 0.5).clip(0, 255).astype(np.uint8)
