"""Scenes, their ground truth, zero-shot masks and masks of the upsampling head: python -m recipes.probe.image."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ca_seg import load_backbone
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.seeds import image_seed
from ca_seg.heads.trained import load_head
from ca_seg.labelling.formats.voc_colours import voc_palette

HEAD = "checkpoints/heads/mini-scenes-upsampling"
SIDE = 192


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images/heads.png"))
    parser.add_argument("--scenes", type=int, nargs="+", default=[3, 11, 27, 46])
    args = parser.parse_args()
    dataset, backbone, head = open_dataset("scenes", None, "val"), load_backbone("mini"), load_head(HEAD)
    colours = np.frombuffer(voc_palette(len(dataset.class_list)), np.uint8).reshape(-1, 3)
    rows = []
    for index in args.scenes:
        sample = dataset[index]
        image, seed = sample["image"][None], image_seed(0, sample["image_id"])
        masks = (
            sample["mask"],
            backbone.maps(image, head.vocabulary, seed=seed).argmax(dim=1)[0],
            head.segment(backbone, image, seed=seed)[0],
        )
        columns = [(image[0].permute(1, 2, 0) * 255).to(torch.uint8).numpy(), *(colours[m.numpy()] for m in masks)]
        tiles = [np.asarray(Image.fromarray(t).resize((SIDE, SIDE), Image.Resampling.NEAREST)) for t in columns]
        rows.append(np.concatenate(tiles, axis=1))
    Image.fromarray(np.concatenate(rows)).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
