"""A small frozen source, and a dataset folder for it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

CHANNELS = 3


class ConvSource:
    """A strided convolution and noise of the seed, image by image, so that the batch size changes no bit.

    Each image appends its seed to the file `log`, and takes `pause` seconds.
    """

    name, channels = "conv", CHANNELS

    def __init__(self, words: Sequence[str] = ("cat",), *, log: Path | None = None, pause: float = 0.0) -> None:
        weights = np.random.default_rng(0).normal(size=(CHANNELS, 3, 2, 2)).astype(np.float32)
        weights[1] *= 1e6  # a massive activation
        self.words, self.log, self.pause, self.weights = list(words), log, pause, torch.from_numpy(weights)

    def __call__(self, images: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        return torch.stack([self.features_of(image, seed) for image, seed in zip(images, seeds, strict=True)])

    def features_of(self, image: torch.Tensor, seed: int) -> torch.Tensor:
        time.sleep(self.pause)
        if self.log is not None:
            with open(self.log, "ab", buffering=0) as file:
                file.write(b"%d\n" % seed)
        features = torch.nn.functional.conv2d(image[None], self.weights, stride=2)[0]
        noise = np.random.default_rng(seed).normal(size=tuple(features.shape)).astype(np.float32)
        return features + torch.from_numpy(noise)

    def identity(self) -> dict[str, Any]:
        return {"backbone": "conv", "vocabulary": self.words}

    def to(self, device: torch.device) -> None:
        self.weights = self.weights.to(device)


def folder_of(root: Path, sizes: Sequence[tuple[int, int]]) -> Path:
    """A dataset folder of random images p0000, p0001, ... (height, width), with masks of the classes 1 and 2."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        os.makedirs(root / part)
    (root / "classes.json").write_text(json.dumps({"ignore": [0], "classes": {"1": "cat", "2": "grass"}}))
    for number, size in enumerate(sizes):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / "images" / f"p{number:04d}.png")
        Image.fromarray(rng.integers(0, 3, size, dtype=np.uint8)).save(root / "masks" / f"p{number:04d}.png")
    return root
