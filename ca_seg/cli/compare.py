"""`ca-seg compare A.json B.json`: is B better than A on the same images?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ca_seg.jobs.compare import ComparisonRow, compare

COLUMNS = ("split", "offered", "A", "B", "B - A", "95 %", "better : worse")


def run(arguments: Sequence[str]) -> int:
    """Prints B - A for each split and protocol that both have."""
    parser = argparse.ArgumentParser("ca-seg compare", description="Two evaluations of the same images, side by side.")
    parser.add_argument("first", type=Path, metavar="A.json", help="a results.json of `ca-seg eval`")
    parser.add_argument("second", type=Path, metavar="B.json", help="another one, of the same images")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap intervals")
    options = parser.parse_args(arguments)
    comparison = compare(options.first, options.second, seed=options.seed)
    table = Table(*COLUMNS, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for row in comparison.rows:
        table.add_row(*_texts(row))
    console = Console()
    methods = f"A: {comparison.first} ({options.first}), B: {comparison.second} ({options.second})"
    console.print(methods, soft_wrap=True)
    console.print(table)
    console.print(
        "A and B: mIoU of the split (%). B - A: the mean over images of the difference of their own mIoU",
        soft_wrap=True,
    )
    return 0


def _texts(row: ComparisonRow) -> tuple[str, ...]:
    """A row in percent; `offered` is the part of the protocol's name that says which classes are offered."""
    return (
        row.split,
        row.protocol.split("-")[0],
        f"{100 * row.first:.1f}",
        f"{100 * row.second:.1f}",
        f"{100 * row.difference:+.2f}",
        f"{100 * row.interval[0]:+.2f} {100 * row.interval[1]:+.2f}",
        f"{row.better} : {row.worse}",
    )
