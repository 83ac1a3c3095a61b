"""Write the readers' table of docs/methods.md: `python -m recipes.readers_table mini-plain=DIR mini=DIR photo=DIR`.

DIR is the folder that `ca-seg ablate --out DIR` wrote for that backbone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from ca_seg.errors import UserError
from recipes.command import run
from recipes.page import fill, table

PAGE = Path("docs/methods.md")
ROWS: dict[str, tuple[str, str]] = {  # the row in the docs: table and row of ablation.json
    "`concepts`": ("reader", "concepts"),
    "`concepts`, `blur`": ("reader", "concepts, blur"),
    "`seg4diff`": ("reader", "seg4diff"),
    "`goca`": ("reader", "goca"),
    "`goca`, head weights only": ("reader", "goca, only head weights"),
    "`goca`, layer weights only": ("reader", "goca, only layer weights"),
    "`goca`, rescaling only": ("reader", "goca, only rescaling"),
    "`tokenrank`": ("reader", "tokenrank"),
    "`tokenrank`, heads alike": ("reader", "tokenrank, heads alike"),
    "`tokenrank`, attention once": ("reader", "tokenrank, one bounce"),
    "`gramcol`": ("reader", "gramcol"),
    "`gramcol`, `least_eigenvalue: 0.7`": ("reader", "gramcol, layers by eigenvalue"),
    "`anchordiff`": ("reader", "anchordiff"),
    "`concepts`, prompt `all`": ("prompt", "all"),
    "`concepts`, prompt `present` (oracle)": ("prompt", "present (oracle)"),
    "`concepts`, `normalise: concepts`": ("normalisation", "concepts, heads joined"),
    "`concepts`, `normalise: discard`": ("normalisation", "discard, heads joined"),
}


Tables = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]  # figures by backbone, table, row and name


def readers_table(tables: Tables) -> str:
    """In Markdown, in percent.

    Args:
        tables: the tables of ablation.json by backbone
    """
    header = ["", *(f"{name}, {protocol}" for name in tables for protocol in ("oracle", "full"))]
    rows = [
        [label, *(f"{100 * t[part][row][f'{p}_miou']:.1f}" for t in tables.values() for p in ("oracle", "full"))]
        for label, (part, row) in ROWS.items()
    ]
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", metavar="BACKBONE=DIR")
    args = parser.parse_args()
    tables = {}
    for argument in args.folders:
        name, _, folder = argument.partition("=")
        file = Path(folder) / "ablation.json"
        if not folder or not file.is_file():
            raise UserError(f"{argument!r}: there is no {file}", fix=f"ca-seg ablate --backbone {name} --out DIR")
        tables[name] = json.loads(file.read_text(encoding="utf-8"))["tables"]
    fill(PAGE, "readers", readers_table(tables))


if __name__ == "__main__":
    run(main)
