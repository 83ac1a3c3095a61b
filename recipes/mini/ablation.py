"""Compare spaces, layers and timesteps: `python -m recipes.mini.ablation --backbone mini [--shipped] --json FILE`.

By default the tables are computed on freshly composed scenes, whose seed is used nowhere else. Settings are chosen on
those. With `--shipped` the same tables are computed on the shipped scenes, for the documentation. Each image is
recorded once per timestep and noise sample, and all entries of a table are read from that recording.
"""

from __future__ import annotations

import argparse
import functools
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
TIMESTEPS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
Pair = tuple[torch.Tensor, torch.Tensor]  # image [3, H, W] in 0..1, mask [H, W]


def fresh_scenes(count: int) -> tuple[tuple[str, ...], Iterator[Pair]]:
    """The classes and `count` newly composed scenes (needs the emoji: `python -m recipes.mini.fetch`)."""
    composer = SceneComposer(ObjectLibrary.load(CACHE))

    def pairs() -> Iterator[Pair]:
        for number in range(count):
            scene = composer.compose(np.random.default_rng((SEED, number)))
            yield torch.from_numpy(scene.image).permute(2, 0, 1) / 255, torch.from_numpy(scene.mask).long() - 1

    return composer.words, pairs()


def shipped_scenes(count: int) -> tuple[tuple[str, ...], Iterator[Pair]]:
    """The classes and the first `count` scenes of the shipped part `in_distribution`."""
    dataset = open_dataset("scenes", split="in_distribution")
    items = (dataset[i] for i in range(min(count, len(dataset))))
    return dataset.class_list.names, ((item["image"], item["mask"]) for item in items)


class ScoreTable:
    """Confusion matrices by the name of the entry, for both protocols (classes present given; all classes)."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.all_classes = Vocabulary.from_names(self.classes)
        self.matrices: dict[str, tuple[ConfusionMatrix, ConfusionMatrix]] = {}

    def add(self, name: str, oracle: ConceptFeatures, full: ConceptFeatures, mask: torch.Tensor, **reading) -> None:
        present = torch.tensor([self.classes.index(c) for c in oracle.vocabulary.classes])
        matrices = self.matrices.setdefault(name, tuple(ConfusionMatrix(len(self.classes)) for _ in range(2)))
        for matrix, features in zip(matrices, (oracle, full), strict=True):
            predicted = predict_mask(features.maps(**reading), *mask.shape).mask[0]
            matrix.update(present[predicted] if features is oracle else predicted, mask)

    def figures(self) -> dict[str, dict[str, float]]:
        table = {}
        for name, (oracle, full) in self.matrices.items():
            oracle_counts, full_counts = oracle.compute(), full.compute()
            table[name] = {
                "oracle_miou": float(miou(oracle_counts)),
                "oracle_accuracy": float(pixel_accuracy(oracle_counts)),
                "full_miou": float(miou(full_counts)),
                "full_accuracy": float(pixel_accuracy(full_counts)),
            }
        return table


@torch.no_grad()
def run(backbone: Backbone, classes: tuple[str, ...], pairs: Iterator[Pair]) -> dict[str, dict[str, dict[str, float]]]:
    """Three tables: space by layer, timesteps, noise samples and combinations of layers."""
    tables = {name: ScoreTable(classes) for name in ("space and layer", "timestep", "layers and samples")}
    double_blocks = len(backbone.transformer.transformer_blocks)
    card = backbone.card
    for number, (image, mask) in enumerate(pairs):
        present = Vocabulary.from_names([classes[i] for i in mask.unique().tolist()])
        vocabularies = present, tables["timestep"].all_classes
        record_and_ask = functools.partial(_record_and_ask, backbone, image, vocabularies, seed=number)
        oracle, full = record_and_ask(card.timestep, layers=tuple(range(backbone.layers)))
        for layer in range(backbone.layers):
            kind = "double" if layer < double_blocks else "single"
            for space in SPACES:
                entry = f"{space}, layer {layer} ({kind})"
                tables["space and layer"].add(entry, oracle, full, mask, space=space, layers=[layer])
        for space in SPACES:
            for softmax in (True, False):
                entry = f"{space}, card's layers, {'softmax' if softmax else 'raw'}"
                reading = {"space": space, "softmax": softmax, "layers": card.layers}
                tables["space and layer"].add(entry, oracle, full, mask, **reading)
        for layers in ((1, 2), (2, 3), (1, 2, 3), (0, 1, 2, 3)):
            tables["layers and samples"].add(f"layers {layers}", oracle, full, mask, layers=layers)
        for count in (2, 4):
            pair = record_and_ask(card.timestep, layers=card.layers, noise_samples=count)
            tables["layers and samples"].add(f"card's layers, {count} samples", *pair, mask, layers=card.layers)
        pair = record_and_ask((0.05, 0.15, 0.3), layers=card.layers)
        tables["layers and samples"].add("card's layers, t = 0.05, 0.15, 0.3", *pair, mask, layers=card.layers)
        for timestep in TIMESTEPS:
            pair = record_and_ask(timestep, layers=card.layers)
            tables["timestep"].add(f"t = {timestep}", *pair, mask, layers=card.layers)
    return {name: table.figures() for name, table in tables.items()}


def _record_and_ask(
    backbone: Backbone,
    image: torch.Tensor,
    vocabularies: tuple[Vocabulary, Vocabulary],
    timesteps: float | tuple[float, ...],
    *,
    layers: Sequence[int],
    noise_samples: int = 1,
    seed: int,
) -> tuple[ConceptFeatures, ConceptFeatures]:
    """The features of one recording for the classes that are present, and for all classes."""
    recording = backbone.record(image, timesteps=timesteps, noise_samples=noise_samples, layers=layers, seed=seed)
    return recording.ask(vocabularies[0]), recording.ask(vocabularies[1])


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
    parser.add_argument("--resolution", type=int, help="pixels at which scenes are read (default: the card's)")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    classes, pairs = (shipped_scenes if args.shipped else fresh_scenes)(args.count)
    tables = run(load_backbone(args.backbone, resolution=args.resolution), classes, pairs)
    show(tables, Console())
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        about = {"backbone": args.backbone, "scenes": "shipped" if args.shipped else "fresh", "count": args.count}
        args.json.write_text(json.dumps(about | {"tables": tables}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
