"""Which space, layer and timestep: `python -m recipes.mini.ablation --backbone mini [--shipped] --json FILE`.

Settings are chosen on fresh scenes (the default: a seed of their own, never the shipped set), and the same tables are
made once on the shipped scenes for the record (`--shipped`). Every image is recorded once per timestep and noise, and
all cells of a table are read from that recording.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.load import load_backbone
from ca_seg.concept.choices import SPACES
from ca_seg.concept.features import ConceptFeatures
from ca_seg.data.catalogue import open_dataset
from ca_seg.decision.argmax import predict_mask
from ca_seg.metrics.confusion import ConfusionMatrix, miou, pixel_accuracy
from ca_seg.vocabulary import Vocabulary
from recipes.mini.fetch import CACHE
from recipes.mini.scenes.compose import SceneComposer
from recipes.mini.scenes.objects import ObjectLibrary

SEED = 777
TIMES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
Pair = tuple[torch.Tensor, torch.Tensor]  # image [3, H, W] in 0..1, mask [H, W]


def fresh(count: int) -> tuple[tuple[str, ...], Iterator[Pair]]:
    composer = SceneComposer(ObjectLibrary.load(CACHE))

    def pairs() -> Iterator[Pair]:
        for number in range(count):
            scene = composer.compose(np.random.default_rng((SEED, number)))
            yield torch.from_numpy(scene.image).permute(2, 0, 1) / 255, torch.from_numpy(scene.mask).long() - 1

    return composer.words, pairs()


def resource_path(count: int) -> tuple[tuple[str, ...], Iterator[Pair]]:
    dataset = open_dataset("scenes", split="in_distribution")
    items = (dataset[i] for i in range(min(count, len(dataset))))
    return dataset.class_list.names, ((item["image"], item["mask"]) for item in items)


class Cells:
    """Confusion matrices by name, for both protocols."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.all = Vocabulary.from_names(self.classes)
        self.matrices: dict[str, tuple[ConfusionMatrix, ConfusionMatrix]] = {}

    def add(self, name: str, oracle: ConceptFeatures, full: ConceptFeatures, mask: torch.Tensor, **reading) -> None:
        present = torch.tensor([self.classes.index(c) for c in oracle.vocabulary.classes])
        both = self.matrices.setdefault(name, tuple(ConfusionMatrix(len(self.classes)) for _ in range(2)))
        for matrix, features in zip(both, (oracle, full), strict=True):
            guess = predict_mask(features.maps(**reading), *mask.shape).mask[0]
            matrix.update(present[guess] if features is oracle else guess, mask)

    def figures(self) -> dict[str, dict[str, float]]:
        table = {}
        for name, (oracle, full) in self.matrices.items():
            o, f = oracle.compute(), full.compute()
            table[name] = {
                "oracle_miou": float(miou(o)), "oracle_accuracy": float(pixel_accuracy(o)),
                "full_miou": float(miou(f)), "full_accuracy": float(pixel_accuracy(f)),
            }  # fmt: skip
        return table


@torch.no_grad()
def run(backbone: Backbone, classes: tuple[str, ...], pairs: Iterator[Pair]) -> dict[str, dict[str, dict[str, float]]]:
    """Three tables: space by layer, timesteps, noise samples and combinations of layers."""
    tables = {name: Cells(classes) for name in ("space and layer", "timestep", "layers and samples")}
    double = len(backbone.transformer.transformer_blocks)
    card = backbone.card
    for number, (image, mask) in enumerate(pairs):
        present = Vocabulary.from_names([classes[i] for i in mask.unique().tolist()])
        everything = tables["timestep"].all

        def asked(times, noise_samples=1, layers=(backbone.layers - 1,), case=(image, number, present, everything)):
            recording = backbone.record(
                case[0], timesteps=times, noise_samples=noise_samples, layers=layers, seed=case[1]
            )
            return recording.ask(case[2]), recording.ask(case[3])

        oracle, full = asked(card.timestep)
        for layer in range(backbone.layers):
            kind = "double" if layer < double else "single"
            for space in SPACES:
                cell = f"{space}, layer {layer} ({kind})"
                tables["space and layer"].add(cell, oracle, full, mask, space=space, layers=[layer])
        for space in SPACES:
            for softmax in (True, False):
                cell = f"{space}, card's layers, {'softmax' if softmax else 'raw'}"
                reading = {"space": space, "softmax": softmax, "layers": card.layers}
                tables["space and layer"].add(cell, oracle, full, mask, **reading)
        for layers in ((1, 2), (2, 3), (1, 2, 3), (0, 1, 2, 3)):
            tables["layers and samples"].add(f"layers {layers}", oracle, full, mask, layers=layers)
        for samples in (2, 4):
            pair = asked(card.timestep, samples, card.layers)
            tables["layers and samples"].add(f"card's layers, {samples} samples", *pair, mask, layers=card.layers)
        pair = asked((0.05, 0.15, 0.3), 1, card.layers)
        tables["layers and samples"].add("card's layers, t = 0.05, 0.15, 0.3", *pair, mask, layers=card.layers)
        for time in TIMES:
            tables["timestep"].add(f"t = {time}", *asked(time, 1, card.layers), mask, layers=card.layers)
    return {name: cells.figures() for name, cells in tables.items()}


def show(tables: dict[str, dict[str, dict[str, float]]], console: Console) -> None:
    for title, rows in tables.items():
        table = Table(title, "oracle mIoU", "oracle acc", "full mIoU", "full acc")
        for name, figures in rows.items():
            table.add_row(name, *(f"{100 * value:.1f}" for value in figures.values()))
        console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="mini")
    parser.add_argument("--shipped", action="store_true")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    classes, pairs = (resource_path if args.shipped else fresh)(args.count)
    tables = run(load_backbone(args.backbone), classes, pairs)
    show(tables, Console())
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        about = {"backbone": args.backbone, "scenes": "shipped" if args.shipped else "fresh", "count": args.count}
        args.json.write_text(json.dumps(about | {"tables": tables}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
