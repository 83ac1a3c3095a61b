"""`ca-seg compare A.json B.json`: is B better than A on the same images?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ca_seg.errors import UserError
from ca_seg.evaluation.results import SCHEMA
from ca_seg.metrics.paired import PairedDifference, paired_difference


def compare(args: argparse.Namespace) -> int:
    """Prints, for each split and protocol that both have, B less A of the images' mIoU with its 95 % interval."""
    first, second = _read(args.first), _read(args.second)
    head = ("split", "offered", "A", "B", "B - A", "95 %", "better : worse")
    table = Table(*head, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    shared = [split for split in first["images"] if split in second["images"]]
    if not shared:
        raise UserError(
            f"{args.first} and {args.second} have no split in common",
            allowed=f"{', '.join(first['images'])} in the first, {', '.join(second['images'])} in the second",
        )
    for split in shared:
        if first["dataset"]["name"] != second["dataset"]["name"]:
            raise UserError(
                f"{args.first} is of {first['dataset']['name']}, {args.second} of {second['dataset']['name']}"
            )
        for protocol, images in first["images"][split].items():
            found = paired_difference(images, second["images"][split][protocol], seed=args.seed)
            ours, theirs = (100 * r["splits"][split][protocol]["miou"] for r in (first, second))
            table.add_row(split, protocol.split("-")[0], f"{ours:.1f}", f"{theirs:.1f}", *_cells(found))
    console = Console()
    console.print(f"A: {first['method']} ({args.first}), B: {second['method']} ({args.second})", soft_wrap=True)
    console.print(table)
    console.print(
        "A and B: mIoU of the split (%). B - A: mean over images of the difference of each one's own mIoU",
        soft_wrap=True,
    )
    return 0


def _cells(found: PairedDifference) -> tuple[str, ...]:
    return (
        f"{100 * found.mean:+.2f}",
        f"{100 * found.low:+.2f} {100 * found.high:+.2f}",
        f"{found.better} : {found.worse}",
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise UserError(f"{path} cannot be read ({problem})", fix="give a results.json of eval.py") from problem
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or "images" not in content:
        raise UserError(f"{path} is no {SCHEMA}", fix="evaluate again with this version")
    return content
