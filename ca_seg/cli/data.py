"""`ca-seg data list` and `ca-seg data path NAME`: the datasets."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ca_seg.data.catalogue import DATASETS, open_dataset


def run(arguments: Sequence[str]) -> int:
    """0; raises UserError for a dataset that is unknown or is not there."""
    parser = argparse.ArgumentParser(prog="ca-seg data", description="The datasets.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="list|path")
    commands.add_parser("list", help="the name of each, and what it is")
    path = commands.add_parser("path", help="the folder of one that ships; how to get one that does not")
    path.add_argument("name")
    options = parser.parse_args(arguments)
    if options.command == "path":
        print(open_dataset(options.name).root)
        return 0
    width = max(map(len, DATASETS)) + 2
    for name, entry in DATASETS.items():
        print(f"{name:{width}}{entry.summary}")
    print("\n`ca-seg data path NAME` says how to get one")
    return 0
