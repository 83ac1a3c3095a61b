"""A small detectron2 config on the shipped backbone, and a few of the shipped scenes, for tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ca_seg.resources import resource_path

REASON = "detectron2 is not installed (docs/detectron2.md says how)"
IMAGENET = ((103.53, 116.28, 123.675), (57.375, 57.12, 58.395))
HALF = ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))


def first_scenes(folder: Path, count: int) -> Path:
    """The first `count` validation scenes as a dataset folder of their own."""
    scenes = resource_path("datasets", "scenes")
    image_ids = json.loads((scenes / "splits.json").read_text())["val"][:count]
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
        for image_id in image_ids:
            shutil.copy(scenes / part / f"{image_id}.png", folder / part)
    shutil.copy(scenes / "classes.json", folder)
    return folder


def small_config(order: str = "BGR", colours: tuple = IMAGENET, *, pyramid: bool = True):
    """SemanticSegmentor with SemSegFPNHead on mini, for images of 128 pixels on a CPU."""
    from detectron2.config import get_cfg

    from ca_seg.adapters.detectron2 import add_ca_seg_config

    cfg = get_cfg()
    add_ca_seg_config(cfg)
    cfg.merge_from_file(str(Path(__file__).parents[1] / "recipes" / "detectron2" / "mini_scenes.yaml"))
    cfg.INPUT.FORMAT = order
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (128,), 128
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = (list(values) for values in colours)
    cfg.MODEL.CA_SEG.LAYERS = [1, 2]
    cfg.MODEL.CA_SEG.PYRAMID_CHANNELS = 16
    cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM = 32
    if not pyramid:
        cfg.MODEL.BACKBONE.NAME = "build_ca_seg_backbone"
        cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["tokens"]
        cfg.MODEL.SEM_SEG_HEAD.COMMON_STRIDE = 8
    return cfg
