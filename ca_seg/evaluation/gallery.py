"""The page of an evaluation: tables, and the best and worst pictures with overlays and heat maps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ca_seg.data.datamodule import SegmentationData
from ca_seg.evaluation.run import Cell
from ca_seg.heads.zero_shot import decide
from ca_seg.tasks.zero_shot import PROTOCOLS, Record, picture_seed
from ca_seg.visual.heatmaps import heatmap_strip
from ca_seg.visual.overlay import overlay
from ca_seg.visual.page import write_page
from ca_seg.visual.report import PageReport, ReportTable, Shown

FIGURES = {"miou": "mIoU", "pixel_accuracy": "accuracy", "map": "mAP"}


def galleries(
    cells: Mapping[str, Cell],
    data: Mapping[str, SegmentationData],
    record: Record,
    seed: int,
    device: str,
) -> tuple[tuple[str, tuple[Shown, ...]], ...]:
    """For each split its best and worst pictures, run once more."""
    made = []
    for split, cell in cells.items():
        for end, ranked in cell.task.ranking.items():
            shown = tuple(_shown(cell, data[split], stem, score, record, seed, device) for stem, score in ranked)
            made.append((f"{split}: {end} pictures", shown))
    return tuple(made)


def _shown(
    cell: Cell, data: SegmentationData, stem: str, score: float, record: Record, seed: int, device: str
) -> Shown:
    dataset = data.dataset(data.split)
    sample = dataset[dataset.stems.index(stem)]
    names = dataset.class_list.names
    mask = sample["mask"]
    present = mask[mask != 255].unique().tolist()
    recorded = record(sample["image"][None].to(device), [picture_seed(seed, stem)])
    guess = decide(recorded.maps(cell.task.everything), *mask.shape).mask[0].cpu().numpy()
    maps = recorded.maps(cell.task.vocabulary(present))[0].float().cpu().numpy()
    pixels = (sample["image"].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    shown = list(dict.fromkeys([*present, *np.unique(guess).tolist()]))  # few classes: the colours that differ most
    colours = [shown.index(i) if i in shown else 0 for i in range(len(names))]
    return Shown(
        f"{stem}: mIoU {100 * score:.0f} with all classes offered",
        (
            ("truth", overlay(pixels, mask.numpy(), names, colours=colours)),
            ("prediction, all classes offered", overlay(pixels, guess, names, colours=colours)),
            ("heat maps, present classes offered", heatmap_strip(pixels, maps, [names[i] for i in present])),
        ),
    )


def write_report(path: Path, results: Mapping[str, Any], shown: tuple[tuple[str, tuple[Shown, ...]], ...]) -> None:
    """The page of `results` (as in results.json)."""
    data = results["dataset"]
    head = ("method", "split", *(f"{p}: {label}" for p in PROTOCOLS for label in FIGURES.values()))
    rows = tuple(
        (method, split, *(f"{100 * figures[p][f]:.1f}" for p in PROTOCOLS for f in FIGURES))
        for method, splits in results["methods"].items()
        for split, figures in splits.items()
    )
    classes = tuple(
        (name, *(_percent(results["per_class"][protocol][name]) for protocol in PROTOCOLS))
        for name in results["per_class"][PROTOCOLS[0]]
    )
    confused = tuple((c["truth"], c["predicted"], f"{100 * c['share']:.0f} %") for c in results["confusions"])
    facts = (
        *((key, str(value)) for key, value in results["reading"].items()),
        ("pictures", ", ".join(f"{split} {count}" for split, count in data["pictures"].items())),
        ("classes", str(data["classes"])),
        ("dataset fingerprint", data["fingerprint"]),
        ("speed", f"{results['speed']['pictures_per_second']:.1f} pictures a second, both protocols"),
        ("seconds", f"{results['seconds']:.0f} for all methods"),
        ("seed", str(results["seed"])),
        ("date", results["date"]),
        ("versions", ", ".join(f"{name} {number}" for name, number in results["versions"].items())),
        ("skipped", str(len(results["skipped"]))),
    )
    report = PageReport(
        f"{results['method']} on {data['name']}",
        "Zero-shot segmentation by concept attention. oracle-presence: only the classes that are in a picture are "
        f"offered. full-vocabulary: all {data['classes']} classes are. All figures in percent.",
        facts,
        (
            ReportTable("Methods", head, rows),
            ReportTable(
                "Largest confusions",
                ("truth", "predicted", "of the truth's pixels"),
                confused,
                f"{data['split']}, full-vocabulary, largest by pixels first.",
            ),
            ReportTable(
                "IoU of each class", ("class", *PROTOCOLS), classes, f"{data['split']}. Click a heading to sort.", True
            ),
        ),
        shown,
    )
    write_page(path, report)


def _percent(value: float) -> str:
    """A dash for nan: a class with neither truth nor prediction."""
    return "-" if value != value else f"{100 * value:.1f}"
