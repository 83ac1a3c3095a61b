"""Two small open detectors as teachers of `photo` (not of `photo-words`). Both were trained with boxes.

PicoDet-S, 416 px (Yu et al. 2021)                         COCO's 80 things
Ultra-Light-Fast-Generic-Face-Detector (RFB, 320 x 240)    faces
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.photo.segmenters import NetworkFile, listed

THINGS = NetworkFile(
    "coco-80",
    "hpc203/picodet-onnxruntime",
    "dfe4d6cd0a18cd4126ee381e81df8a0b1e6ad97b",
    "coco/picodet_s_416_coco.onnx",
    "not stated in the repository (published by PaddleDetection, Apache-2.0)",
    listed(
        "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, "
        "parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, "
        "handbag, tie, suitcase, frisbee, skis, snowboard, ball, kite, baseball bat, baseball glove, skateboard, "
        "surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
        "broccoli, carrot, hot dog, pizza, donut, cake, chair, sofa, plant, bed, table, toilet, television, laptop, "
        "computer mouse, remote control, keyboard, mobile phone, microwave, oven, toaster, sink, refrigerator, book, "
        "clock, vase, scissors, teddy bear, hair dryer, toothbrush"
    ),
)
FACES = NetworkFile(
    "faces",
    "Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB",
    "dffdddda9794a50607cba8f318507a28c1c27cab",
    "models/onnx/version-RFB-320.onnx",
    "MIT",
    listed("face"),
)
DETECTORS = (THINGS, FACES)
SURE = {"coco-80": 0.45, "faces": 0.8}
OVERLAP = 0.5  # of two boxes (intersection over union), above which the less sure one is left out


@dataclass(frozen=True)
class Box:
    """A thing in a picture: its word, the sides as fractions of the picture, and the detector's score."""

    word: str
    left: float
    top: float
    right: float
    bottom: float
    score: float


class Detector:
    """One detector, loaded. `repository` is the git directory that holds it."""

    def __init__(self, file: NetworkFile, repository: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.file = file
        self._network = onnxruntime.InferenceSession(file.read(repository), options)
        self._input = self._network.get_inputs()[0]

    def __call__(self, picture: Image.Image) -> list[Box]:
        """The boxes of a square picture, the surest first."""
        height, width = self._input.shape[2:]
        pixels = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), np.float32)
        normalise, decode = (bgr, pico_boxes) if self.file is THINGS else (centred, face_boxes)
        outputs = self._network.run(None, {self._input.name: normalise(pixels).transpose(2, 0, 1)[None]})
        scores, sides = decode([output[0] for output in outputs])
        return [
            Box(self.file.words[scores[i].argmax()], *sides[i].clip(0, 1).tolist(), float(scores[i].max()))
            for i in surest(scores.max(axis=1), sides, SURE[self.file.name])
        ]


def bgr(pixels: np.ndarray) -> np.ndarray:
    """As PicoDet was trained: blue first, ImageNet's means and deviations."""
    mean, deviation = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
    return ((pixels[..., ::-1] - np.float32(mean)) / np.float32(deviation)).astype(np.float32)


def centred(pixels: np.ndarray) -> np.ndarray:
    return (pixels - 127) / 128


def pico_boxes(outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Scores [n, 80] and sides [n, 4]. A distance from a cell's centre is the mean of 8 bins (Li et al. 2020)."""
    levels = len(outputs) // 2
    sides = []
    for output in outputs[levels:]:
        cells = round(len(output) ** 0.5)
        y, x = (np.mgrid[:cells, :cells].reshape(2, -1) + 0.5) / cells
        bins = np.exp(output.reshape(-1, 4, 8))
        left, top, right, bottom = (bins @ np.arange(8) / bins.sum(axis=-1)).T / cells
        sides.append(np.stack([x - left, y - top, x + right, y + bottom], axis=1))
    return np.concatenate(outputs[:levels]), np.concatenate(sides)


def face_boxes(outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Scores [n, 1] and sides [n, 4]; the network gives both, and the score of no face."""
    return outputs[0][:, 1:], outputs[1]


def surest(scores: np.ndarray, sides: np.ndarray, least: float) -> list[int]:
    """The rows of at least that score of which none overlaps a surer one, whatever their classes."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] < least:
            break
        if all(overlap(sides[i], sides[k]) <= OVERLAP for k in kept):
            kept.append(int(i))
    return kept


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width, height = (min(a[2 + k], b[2 + k]) - max(a[k], b[k]) for k in (0, 1))
    inside = max(width, 0) * max(height, 0)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return float(inside / (area - inside)) if inside else 0.0
