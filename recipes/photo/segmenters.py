"""Three small open segmenters as dense teachers of `photo` (not of `photo-words`). All were trained with masks.

    MOSAIC (Wang and Howard 2021)                    31 frequent classes of ADE20K
    DeepLab v3+ on MobileNet v2 (Chen et al. 2018)   all 150 classes of ADE20K
    DeepLab v3 on MobileNet v2                       PASCAL VOC's 20 things (pre-trained on COCO by its authors)

They read 512 or 513 px and give a class, or a score per class, at every position. TensorFlow Lite files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.photo.git_files import GitFiles


@dataclass(frozen=True)
class NetworkFile:
    """Where a network is, under which terms, and the words of its classes ("" where it has none for a class)."""

    name: str
    repository: str
    commit: str
    path: str
    terms: str
    words: tuple[str, ...]

    def read(self, repository: Path) -> bytes:
        return GitFiles(repository, self.commit).read(self.path)


def listed(words: str) -> tuple[str, ...]:
    """Words between commas; "-" is no word."""
    return tuple("" if word == "-" else word for word in (part.strip() for part in words.split(",")))


ADE = NetworkFile(
    "ade20k-31",
    "mlcommons/mobile_open",
    "86a873714efd6cb391c3a4751e3bb7b8f91b1449",
    "vision/mosaic/models_and_checkpoints/R4/mobile_segmenter_r4_quant_argmax_uint8.tflite",
    "Apache-2.0 (MLCommons)",
    listed(
        "-, wall, building, sky, floor, tree, ceiling, road, bed, window, grass, cabinet, sidewalk, person, soil, "
        "door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, "
        "field, armchair"
    ),
)
ADE_150 = NetworkFile(
    "ade20k-150",
    "ucalyptus/SIH-Stargazers",
    "34dc5cb5d4ef1c0a3ae6c8c0f3093676fa26c91f",
    "models/segmentation/lite-model_deeplabv3-mobilenetv2-ade20k_1_default_1.tflite",
    "not stated in the repository (published on TensorFlow Hub)",
    listed(
        "-, wall, building, sky, floor, tree, ceiling, road, bed, window, grass, cabinet, sidewalk, person, ground, "
        "door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, "
        "field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, -, box, column, sign, "
        "dresser, counter, sand, sink, skyscraper, fireplace, refrigerator, -, path, stairs, runway, -, -, pillow, "
        "-, stairs, river, bridge, bookcase, -, table, toilet, flower, book, hill, bench, countertop, stove, palm, "
        "-, computer, chair, boat, -, -, -, bus, towel, lamp, truck, tower, chandelier, awning, streetlight, -, "
        "television, airplane, dirt, clothing, pole, ground, railing, escalator, -, bottle, -, poster, stage, van, "
        "ship, fountain, -, canopy, washer, toy, swimming pool, stool, barrel, basket, waterfall, tent, bag, "
        "motorcycle, -, oven, ball, food, stairs, -, sign, microwave, pot, -, bicycle, lake, dishwasher, screen, "
        "blanket, sculpture, -, lamp, vase, traffic light, tray, trash can, fan, pier, monitor, plate, monitor, -, "
        "shower, radiator, glass, clock, flag"
    ),
)
VOC = NetworkFile(
    "voc-20",
    "google-coral/test_data",
    "",
    "deeplabv3_mnv2_pascal_quant.tflite",
    "Apache-2.0",
    listed(
        "-, airplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, table, dog, horse, motorcycle, person, "
        "plant, sheep, sofa, train, television"
    ),
)
SEGMENTERS = (ADE, ADE_150, VOC)
GRID = 64  # masks are kept as 64 x 64


class Segmenter:
    """One network, loaded. `file` says what it is, `repository` is the git directory that holds it."""

    def __init__(self, file: NetworkFile, repository: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        content = file.read(repository)
        self._network = Interpreter(model_content=before_last_resize(content), num_threads=1)
        self._network.allocate_tensors()
        self._input, self._output = self._network.get_input_details()[0], self._network.get_output_details()[0]

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """The class [64, 64] uint8 at the centre of each cell of a square picture."""
        side = int(self._input["shape"][1])
        pixels = np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR))
        if self._input["dtype"] == np.float32:
            pixels = pixels.astype(np.float32) / 127.5 - 1
        self._network.set_tensor(self._input["index"], pixels[None])
        self._network.invoke()
        output = self._network.get_tensor(self._output["index"])[0]
        centres = ((np.arange(GRID) + 0.5) * len(output) / GRID).astype(int)
        classes = output[np.ix_(centres, centres)]
        return (classes if classes.ndim == 2 else classes.argmax(axis=-1)).astype(np.uint8)


def before_last_resize(content: bytes) -> bytes:
    """The network without resizing its scores at the end, to pixels of which most would not be read.

    A network that ends in another way is returned as it is.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph, resize = model.subgraphs[0], schema.BuiltinOperator.RESIZE_BILINEAR
    last = len(graph.operators)
    while model.operatorCodes[graph.operators[last - 1].opcodeIndex].deprecatedBuiltinCode == resize:
        last -= 1
    if last == len(graph.operators):
        return content
    graph.operators = graph.operators[:last]
    graph.outputs, model.signatureDefs = list(graph.operators[-1].outputs), None
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
