"""The results as a table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ca_seg.tasks.zero_shot import PROTOCOLS

FIGURES = {"miou": "mIoU", "pixel_accuracy": "acc", "map": "mAP"}


def results_table(results: Mapping[str, Any]) -> Table:
    """One row per method and split, three figures per protocol; everything in percent."""
    title = f"segmentation of {results['dataset']['name']} (%)"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("method", overflow="fold")
    table.add_column("split", overflow="fold")
    for protocol in PROTOCOLS:
        for name in FIGURES.values():
            table.add_column(f"{protocol.split('-')[0]}\n{name}", justify="right")
    for method, splits in results["methods"].items():
        for split, figures in splits.items():
            values = [f"{100 * figures[p][f]:.1f}" for p in PROTOCOLS for f in FIGURES]
            table.add_row(method, split, *values)
    return table


def print_results(results: Mapping[str, Any], console: Console) -> None:
    """Print the table, the speed, the first skipped images and the expectations. `results` is as in results.json."""
    console.print(results_table(results))
    console.print(
        "oracle: only the classes present in an image are offered; full: all "
        f"{results['dataset']['classes']} classes of the dataset are"
    )
    _print_unseen(results, console)
    speed = results["speed"]
    console.print(f"{speed['images']} images at {speed['images_per_second']:.1f} a second, both protocols")
    for path, reason in results["skipped"][:10]:
        console.print(f"skipped {path}: {reason}", style="red", markup=False)
    for split, count in results["dataset"]["images"].items():
        scored, skipped = len(results["images"][split][PROTOCOLS[1]]), len(results["skipped"])
        if scored + skipped < count:
            why = "the trainer's limit_test_batches or fast_dev_run left out the others"
            console.print(f"{split}: {scored} of {count} images were scored; {why}", style="red", soft_wrap=True)
    for check in results["expect"]:
        mark = "[green]as expected" if check["holds"] else "[red]NOT as expected"
        console.print(f"{mark}: {check['figure']} = {check['found']:.4f} ({check['expected']} ± {check['tolerance']})")


def _print_unseen(results: Mapping[str, Any], console: Console) -> None:
    """The mIoU over the classes that training taught and over those that it did not, where there are such."""
    unseen = results["unseen"]
    if not unseen or not unseen["classes"]:
        return
    count = len(unseen["classes"])
    console.print(f"{count} of {results['dataset']['classes']} classes were never taught; mIoU over each part (%):")
    for method, splits in unseen["miou"].items():
        for split, protocols in splits.items():
            parts = (
                f"{p.split('-')[0]} taught {percent(m['taught'])}, unseen {percent(m['unseen'])}"
                for p, m in protocols.items()
            )
            console.print(f"  {method}, {split}: {'; '.join(parts)}", highlight=False, soft_wrap=True, markup=False)


def percent(value: float) -> str:
    """A dash for nan: a class with neither ground truth nor prediction."""
    return "-" if value != value else f"{100 * value:.1f}"
