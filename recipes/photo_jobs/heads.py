"""Heads on frozen features, trained on 10, 50 or all 295 images of MSRC-21's train and scored on dev.

python -m recipes.photo_jobs.choose --backbone photo
python -m recipes.photo_jobs.heads

The features and settings are those that `recipes.photo_jobs.choose` found on a part of train. Every run sees as many
images: 20 times 295, some of them more often where there are few. Baselines are trained on all images only.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ca_seg.errors import UserError
from ca_seg.tasks.head_settings import HeadSettings, TrainingData
from recipes.command import run
from recipes.photo_jobs.choose import EPOCHS, OUT
from recipes.photo_jobs.msrc import FOLDER, SEEDS, SIZES, split_name
from recipes.probe.curves import epochs_for
from recipes.probe.runs import Runs
from recipes.probe.table import LINEAR

ROWS = {
    "linear": "linear probe",
    "decoder": "SMP decoder",
    "random": "linear probe, random weights",
    "imagenet": "linear probe on EfficientNet-Lite0 of ImageNet",
    "mini": "linear probe on attention outputs of mini",
}
BASELINES = ("random", "imagenet", "mini")
ALL = "all"


def models(choice: Mapping[str, Any]) -> dict[str, HeadSettings]:
    """The head of each row, from the content of choice.json."""
    chosen = {name: HeadSettings(**values, loss_at="tokens") for name, values in choice["chosen"].items()}
    linear = chosen["linear"]
    return chosen | {
        "random": replace(linear, random_weights=True),
        "imagenet": replace(LINEAR, backbone="efficientnet-lite0", resolution=linear.resolution or 320),
        "mini": replace(LINEAR, backbone="mini", parts=["outputs"]),
    }


def run_name(row: str, size: str) -> str:
    """The folder of the runs of a row with so many images."""
    return f"{row}-{size}"


def read_choice(out: Path) -> dict[str, Any]:
    """The content of choice.json. Raises UserError where it was not made."""
    file = out / "choice.json"
    if not file.exists():
        raise UserError(f"there is no {file}", fix="run python -m recipes.photo_jobs.choose first")
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=str(FOLDER))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seeds", type=int, nargs="+", choices=SEEDS, default=list(SEEDS), help="with few images")
    parser.add_argument("--seeds-of-all", type=int, nargs="+", choices=SEEDS, default=[0], help="with all images")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--limit", type=int, help="only the first images of each part")
    args = parser.parse_args()
    whole = TrainingData("folder", args.data, train_split="train", val_split="dev", limit=args.limit)
    runs, heads = Runs(args.out, whole, args.epochs), models(read_choice(args.out))
    for row in args.rows:
        for size in (None,) if row in BASELINES else (None, *SIZES):
            for seed in args.seeds_of_all if size is None else args.seeds:
                data = whole if size is None else replace(whole, train_split=split_name(size, seed))
                epochs = epochs_for(data, whole, args.epochs)
                figures = runs.train(run_name(row, str(size or ALL)), heads[row], seed, data=data, epochs=epochs)
                print(f"{ROWS[row]}, {size or ALL} images, seed {seed}: {100 * figures['miou']:.1f}", flush=True)


if __name__ == "__main__":
    run(main)
