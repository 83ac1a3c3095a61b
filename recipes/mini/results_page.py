"""Write docs/results.md, its plot and the README's table from what recipes/mini/Makefile evaluated.

OUT/scenes/results.json                      the shipped scenes
OUT/refinement/SETTING/results.json          with one step of refinement
OUT/msrc/results.json                        MSRC-21
OUT/ablation/NAME.json                       spaces, layers, timesteps (recipes.mini.ablation)
OUT/readers/NAME/ablation.json               concept attention, normalisation (ca-seg ablate)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from recipes.page import fill, table

ROOT = Path(__file__).parents[2]
NAMES = ("mini", "mini-plain")
SETTINGS = {  # a row of the refinement table: the folder of its results below OUT/refinement
    "absence filter": "absence",
    "self-attention": "attention",
    "guided filter": "guided-filter",
    "superpixel vote": "superpixels",
    "PAMR": "pamr",
    "the flipped image": "flip",
}
PROTOCOLS = ("oracle-presence", "full-vocabulary")
COLUMNS = ("oracle mIoU", "acc", "mAP", "full mIoU", "acc", "mAP")
FIGURES = {"oracle_miou": "oracle mIoU", "oracle_accuracy": "acc", "full_miou": "full mIoU", "full_accuracy": "acc"}
ATTENTION = ("both", "cross", "self", "none")
NORMALISATION = tuple(
    f"{vectors}, heads {heads}" for vectors in ("none", "token", "channel") for heads in ("joined", "apart")
)


def read_json(file: Path) -> dict:
    content: dict = json.loads(file.read_text(encoding="utf-8"))
    return content


def main_table(results: dict) -> str:
    """The methods on both splits, as Markdown."""
    rows = [
        [method, split, *figures_of(figures)]
        for method, splits in results["methods"].items()
        for split, figures in splits.items()
    ]
    return table(["", "split", *COLUMNS], rows)


def figures_of(figures: dict, names: Sequence[str] = ("miou", "pixel_accuracy", "map")) -> list[str]:
    """The cells of one row, both protocols, in percent."""
    return [f"{100 * figures[protocol][name]:.1f}" for protocol in PROTOCOLS for name in names]


def refinement_table(plain: dict, folder: Path) -> str:
    """`mini` with one step of refinement each.

    Args:
        plain: results of the evaluation without any
        folder: holds SETTING/results.json
    """
    names = ("miou", "pixel_accuracy", "map", "boundary_iou")
    columns = [
        f"{protocol}{name}" for protocol in ("oracle ", "full ") for name in ("mIoU", "acc", "mAP", "boundary IoU")
    ]
    results = {"nothing": plain} | {label: read_json(folder / s / "results.json") for label, s in SETTINGS.items()}
    rows = [[label, *figures_of(r["splits"]["in_distribution"], names)] for label, r in results.items()]
    return table(["`mini` with", *columns], rows)


def photographs_table(results: dict) -> str:
    """`mini` and the baselines on MSRC-21's dev."""
    rows = [[method, *figures_of(splits["dev"])] for method, splits in results["methods"].items()]
    return table(["method", *COLUMNS], rows)


def ablation_table(tables: dict[str, dict], title: str, heading: str, rows: Sequence[str] = ()) -> str:
    """One table of both backbones side by side.

    Args:
        tables: of each backbone, its ablations by title
        title: of the ablation
        heading: of the column of rows
        rows: those to show, all by default
    """
    names = list(FIGURES.values())
    columns = [column for name in tables for column in (f"{name}: {names[0]}", *names[1:])]
    shown = rows or next(iter(tables.values()))[title]
    cells = [[row, *(f"{100 * t[title][row][f]:.1f}" for t in tables.values() for f in FIGURES)] for row in shown]
    return table([heading, *columns], cells)


def plot(tables: dict[str, dict], target: Path) -> None:
    """Layers by space (left), timesteps (right)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), constrained_layout=True)
    for name, style in zip(tables, ("-", "--"), strict=True):
        rows = tables[name]["space and layer"]
        for space, colour in (("output", "C0"), ("cross-attention", "C1"), ("value", "C2")):
            scores = [f["oracle_miou"] for row, f in rows.items() if row.startswith(f"{space}, layer")]
            left.plot(range(len(scores)), scores, style, color=colour, marker=".", label=f"{name}, {space}")
        times = tables[name]["timestep"]
        for key, colour in (("oracle_miou", "C0"), ("full_miou", "C3")):
            label = f"{name}, {'classes present given' if key == 'oracle_miou' else 'all classes'}"
            timesteps = [float(row.removeprefix("t = ")) for row in times]
            right.plot(timesteps, [f[key] for f in times.values()], style, color=colour, marker=".", label=label)
    left.set(xlabel="layer (0 to 3 double blocks, 4 and 5 single)", ylabel="mIoU, classes present given", ylim=(0, 1))
    right.set(xlabel="timestep (0 = clean, 1 = noise)", ylabel="mIoU", ylim=(0, 1))
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=7)
        axes.grid(alpha=0.3)
    figure.savefig(target, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "mini", help="OUT of recipes/mini/Makefile")
    args = parser.parse_args()
    page, results = ROOT / "docs" / "results.md", read_json(args.out / "scenes" / "results.json")
    fill(ROOT / "README.md", "figures", main_table(results))
    fill(page, "refinement", refinement_table(results, args.out / "refinement"))
    fill(page, "photographs", photographs_table(read_json(args.out / "msrc" / "results.json")))
    tables = {name: read_json(args.out / "ablation" / f"{name}.json")["tables"] for name in NAMES}
    plot(tables, ROOT / "docs" / "images" / "ablation.png")
    fill(page, "figures", "\n\n".join(ablation_table(tables, title, title) for title in tables["mini"]))
    tables = {name: read_json(args.out / "readers" / name / "ablation.json")["tables"] for name in NAMES}
    fill(page, "concept attention", ablation_table(tables, "concept attention", "concept attention", ATTENTION))
    fill(page, "normalisation", ablation_table(tables, "normalisation", "vectors, heads", NORMALISATION))


if __name__ == "__main__":
    main()
