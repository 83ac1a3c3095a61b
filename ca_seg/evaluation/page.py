"""The page of an evaluation: tables, calibration, and the images of its gallery."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ca_seg.evaluation.table import percent
from ca_seg.tasks.zero_shot import PROTOCOLS
from ca_seg.visual.page import write_page
from ca_seg.visual.plots import reliability_plot
from ca_seg.visual.report import GalleryItem, PageReport, ReportTable

FIGURES = {
    "miou": "mIoU",
    "pixel_accuracy": "accuracy",
    "mean_accuracy": "mean accuracy",
    "map": "mAP",
    "fwiou": "fwIoU",
    "boundary_iou": "boundary IoU",
    "ece": "ECE",
}


def write_report(
    path: Path, results: Mapping[str, Any], gallery: tuple[tuple[str, tuple[GalleryItem, ...]], ...]
) -> None:
    """Write the page of `results` (as in results.json), with the images of `gallery` below the methods' scores."""
    data = results["dataset"]
    methods = [
        ReportTable(
            f"Methods, {protocol}",
            ("method", "split", *FIGURES.values()),
            tuple(
                (method, split, *(percent(figures[protocol].get(f, math.nan)) for f in FIGURES))
                for method, splits in results["methods"].items()
                for split, figures in splits.items()
            ),
        )
        for protocol in PROTOCOLS
    ]
    classes = tuple(
        (name, *(percent(results["per_class"][protocol][name]) for protocol in PROTOCOLS))
        for name in results["per_class"][PROTOCOLS[0]]
    )
    confused = tuple(
        (c["ground_truth"], c["predicted"], f"{c['pixels']:,}", f"{100 * c['fraction']:.0f} %")
        for c in results["confusions"]
    )
    facts = (
        *((key, str(value)) for key, value in results["readout"].items()),
        *(
            (f"{name}, {protocol}, 95 %", f"{100 * low:.1f} to {100 * high:.1f}")
            for protocol, intervals in results["intervals"][results["method"]][data["split"]].items()
            for name, (low, high) in intervals.items()
        ),
        ("images", ", ".join(f"{split} {count}" for split, count in data["images"].items())),
        ("classes", str(data["classes"])),
        ("dataset fingerprint", data["fingerprint"]),
        ("speed", f"{results['speed']['images_per_second']:.1f} images a second, both protocols"),
        ("seconds", f"{results['seconds']:.0f} for all methods"),
        ("seed", str(results["seed"])),
        ("date", results["date"]),
        ("versions", ", ".join(f"{name} {number}" for name, number in results["versions"].items())),
        ("skipped", str(len(results["skipped"]))),
        *_unseen_facts(results),
    )
    plots = GalleryItem(
        f"{data['split']}: is a confidence of 0.9 right nine times out of ten?",
        tuple((p, reliability_plot(bins)) for p, bins in results["reliability"].items() if bins),
    )
    report = PageReport(
        f"{results['method']} on {data['name']}",
        "Zero-shot segmentation by concept attention. oracle-presence: only the classes that are in an image are "
        f"offered. full-vocabulary: all {data['classes']} classes are. All figures in percent.",
        facts,
        tuple(methods),
        (*gallery, *((("Calibration", (plots,)),) if plots.views else ())),
        (
            ReportTable(
                "Largest confusions",
                ("ground truth", "predicted", "pixels", "of the class's pixels"),
                confused,
                f"{data['split']}, full-vocabulary, largest by pixels first.",
            ),
            ReportTable(
                "IoU of each class", ("class", *PROTOCOLS), classes, f"{data['split']}. Click a heading to sort.", True
            ),
        ),
    )
    write_page(path, report)


def _unseen_facts(results: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The classes that training never taught, and the mIoU over each part on the first split."""
    unseen = results["unseen"]
    if not unseen or not unseen["classes"]:
        return ()
    figures = unseen["miou"][results["method"]][results["dataset"]["split"]]
    rows = ((f"mIoU over {part} classes, {p}", percent(value)) for p, m in figures.items() for part, value in m.items())
    return (("classes never taught", ", ".join(unseen["classes"])), *rows)
