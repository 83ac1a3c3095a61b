"""Two small open segmenters as dense teachers of `photo` (not of `photo-words`). Both were trained with masks.

DeepLab v3 on MobileNet v2 (Chen et al. 2018): PASCAL VOC's 20 things (pre-trained on COCO by its authors) and 31
frequent classes of ADE20K. Both read 512 or 513 px and give a class per pixel. TensorFlow Lite files, Apache-2.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.photo.git_files import GitFiles


@dataclass(frozen=True)
class SegmenterFile:
    """Where a segmenter is, and the words of its classes ("" where it has none for a class)."""

    name: str
    repository: str
    commit: str
    path: str
    words: tuple[str, ...]


ADE = SegmenterFile(
    "ade20k-31",
    "mlcommons/mobile_models",
    "",
    "v0_7/tflite/deeplabv3_mnv2_ade20k_int8.tflite",
    (
        "", "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "window", "grass", "cabinet",
        "sidewalk", "person", "soil", "door", "table", "mountain", "plant", "curtain", "chair", "car", "water",
        "painting", "sofa", "shelf", "house", "sea", "mirror", "rug", "field", "armchair",
    ),
)  # fmt: skip
VOC = SegmenterFile(
    "voc-20",
    "google-coral/test_data",
    "",
    "deeplabv3_mnv2_pascal_quant.tflite",
    (
        "", "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "table", "dog",
        "horse", "motorcycle", "person", "plant", "sheep", "sofa", "train", "television",
    ),
)  # fmt: skip
SEGMENTERS = (ADE, VOC)
GRID = 64  # masks are kept as 64 x 64


class Segmenter:
    """One network, loaded."""

    def __init__(self, file: SegmenterFile, folder: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.words = file.words
        content = GitFiles(folder, file.commit).read(file.path)
        self._network = Interpreter(model_content=content, num_threads=1)
        self._network.allocate_tensors()
        self._input, self._output = self._network.get_input_details()[0], self._network.get_output_details()[0]

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """The class [64, 64] uint8 at the centre of each cell of a square picture."""
        side = int(self._input["shape"][1])
        pixels = np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR))
        signed = self._input["dtype"] == np.int8
        self._network.set_tensor(
            self._input["index"], ((pixels.astype(int) - 128).astype(np.int8) if signed else pixels)[None]
        )
        self._network.invoke()
        classes = np.squeeze(self._network.get_tensor(self._output["index"]))
        centres = ((np.arange(GRID) + 0.5) * len(classes) / GRID).astype(int)
        return classes[np.ix_(centres, centres)].astype(np.uint8)
