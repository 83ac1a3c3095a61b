"""MSRC-21 as a dataset folder, with the parts of `train` that the jobs need.

python -m recipes.photo_jobs.msrc --root DIR

    OUT/images, OUT/masks      links to those of DIR
    OUT/classes.json           22 classes: pixels of horse, which two of its images show, are void
    OUT/splits.json            train (295), dev (141), and parts of train:

        fit, held              every choice is made by training on `fit` and scoring on `held` (a fifth of train)
        few                    10 images whose masks calibrate the confidence of labels
        train-10-0 ...         10 or 50 images at random, by seed
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ca_seg.data.catalogue import open_dataset
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.errors import UserError
from ca_seg.json_file import write_json
from recipes.command import run

FOLDER = Path("out/photographs/msrc")
LEFT_OUT = "horse"
HELD_EVERY = 5
FEW, FEW_SEED = 10, 100  # a seed of its own: `few` is no training set of the heads
SIZES, SEEDS = (10, 50), (0, 1, 2)


def split_name(images: int, seed: int) -> str:
    """The name of a random part of train: "train-10-0"."""
    return f"train-{images}-{seed}"


def splits(train: list[str], dev: list[str]) -> dict[str, list[str]]:
    """All parts, from the image ids of the two that MSRC-21 comes with. Raises UserError for a small train."""
    if len(train) <= max(SIZES):
        raise UserError(f"train has {len(train)} images", allowed=f"more than {max(SIZES)}")
    held = train[::HELD_EVERY]  # names begin with the kind of scene, so every kind is in it
    parts = {"train": train, "dev": dev, "fit": [name for name in train if name not in held], "held": held}
    parts["few"] = _at_random(train, FEW, FEW_SEED)
    return parts | {split_name(size, seed): _at_random(train, size, seed) for size in SIZES for seed in SEEDS}


def write_folder(root: Path, out: Path) -> None:
    """Write the folder `out`, unless it is there. Raises BadDataset for another `root` than MSRC-21."""
    parts = {name: open_dataset("msrc", str(root), name) for name in ("train", "dev")}
    names = {name: sorted(part.image_ids) for name, part in parts.items()}
    out.mkdir(parents=True, exist_ok=True)
    for link in ("images", "masks"):
        if not (out / link).exists():
            (out / link).symlink_to((root / link).resolve(), target_is_directory=True)
    write_json(out / "classes.json", _classes(parts["train"]))
    write_json(out / "splits.json", splits(names["train"], names["dev"]))


def _classes(dataset: SegmentationDataset) -> dict[str, object]:
    names = dict(zip(dataset.class_list.ids, dataset.class_list.names, strict=True))
    left_out = [number for number, name in names.items() if name == LEFT_OUT]
    return {
        "ignore": [*dataset.class_list.ignore, *left_out],
        "classes": {str(number): name for number, name in names.items() if number not in left_out},
    }


def _at_random(names: list[str], count: int, seed: int) -> list[str]:
    return [names[index] for index in sorted(np.random.default_rng(seed).permutation(len(names))[:count].tolist())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="the folder of MSRC-21")
    parser.add_argument("--out", type=Path, default=FOLDER)
    args = parser.parse_args()
    write_folder(args.root, args.out)


if __name__ == "__main__":
    run(main)
