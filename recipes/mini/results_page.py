"""Write docs/results.md and its plots from the evaluations and the ablations of recipes/mini/Makefile."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from recipes.page import fill

ROOT = Path(__file__).parents[2]
ABLATIONS, RESULTS = ROOT / "out" / "ablation", ROOT / "out" / "zero_shot" / "mini_scenes" / "results.json"
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


def main_table(results: dict) -> str:
    """The methods on both splits, as Markdown."""
    lines = [
        "| | split | oracle mIoU | acc | mAP | full mIoU | acc | mAP |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method, splits in results["methods"].items():
        for split, figures in splits.items():
            lines.append(f"| {method} | {split} | {figures_of(figures)} |")
    return "\n".join(lines)


def figures_of(figures: dict, names: Sequence[str] = ("miou", "pixel_accuracy", "map")) -> str:
    """The cells of one row, both protocols, in percent."""
    return " | ".join(f"{100 * figures[protocol][name]:.1f}" for protocol in PROTOCOLS for name in names)


def refinement_table(plain: dict, folder: Path) -> str:
    """`mini` with one step of refinement each.

    Args:
        plain: results of the evaluation without any
        folder: holds SETTING/results.json
    """
    names = ("miou", "pixel_accuracy", "map", "boundary_iou")
    lines = [
        "| `mini` with | oracle mIoU | acc | mAP | boundary IoU | full mIoU | acc | mAP | boundary IoU |",
        "|---|---|---|---|---|---|---|---|---|",
        f"| nothing | {figures_of(plain['splits']['in_distribution'], names)} |",
    ]
    for label, setting in SETTINGS.items():
        results = json.loads((folder / setting / "results.json").read_text())
        lines.append(f"| {label} | {figures_of(results['splits']['in_distribution'], names)} |")
    return "\n".join(lines)


def photographs_table(results: dict) -> str:
    """`mini` and the baselines on MSRC-21's dev."""
    lines = ["| method | oracle mIoU | acc | mAP | full mIoU | acc | mAP |", "|---|---|---|---|---|---|---|"]
    lines += [f"| {method} | {figures_of(splits['dev'])} |" for method, splits in results["methods"].items()]
    return "\n".join(lines)


def ablation_table(tables: dict[str, dict], title: str) -> str:
    """One table of both backbones side by side."""
    lines = [f"| {title} | " + " | ".join(f"{n}: oracle mIoU | acc | full mIoU | acc" for n in tables) + " |"]
    lines.append("|---|" + "---|" * 4 * len(tables))
    for row in next(iter(tables.values()))[title]:
        cells = [f"{100 * v:.1f}" for t in tables.values() for v in t[title][row].values()]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "mini", help="folder of refinement/ and msrc/")
    args = parser.parse_args()
    page, results = ROOT / "docs" / "results.md", json.loads(RESULTS.read_text())
    fill(ROOT / "README.md", "figures", main_table(results))
    tables = {n: json.loads((ABLATIONS / f"{n}-shipped.json").read_text())["tables"] for n in NAMES}
    plot(tables, ROOT / "docs" / "images" / "ablation.png")
    body = "\n\n".join(ablation_table(tables, title) for title in tables["mini"])
    fill(page, "figures", body)
    fill(page, "refinement", refinement_table(results, args.out / "refinement"))
    fill(page, "photographs", photographs_table(json.loads((args.out / "msrc" / "results.json").read_text())))


if __name__ == "__main__":
    main()
