"""Write docs/results.md and its plots from an evaluation and the ablations.

python eval.py --config-file configs/zero_shot/mini_scenes.yaml
python -m recipes.mini.ablation --backbone NAME [--shipped] --json out/ablation/NAME-(fresh|shipped).json
python -m recipes.mini.results_page
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from recipes.page import fill

ROOT = Path(__file__).parents[2]
ABLATIONS, RESULTS = ROOT / "out" / "ablation", ROOT / "out" / "zero_shot" / "mini_scenes" / "results.json"
NAMES = ("mini", "mini-plain")


def main_table(results: dict) -> str:
    """The methods on both splits, as Markdown."""
    lines = [
        "| | split | oracle mIoU | acc | mAP | full mIoU | acc | mAP |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method, splits in results["methods"].items():
        for split, figures in splits.items():
            cells = [
                f"{100 * figures[protocol][name]:.1f}"
                for protocol in ("oracle-presence", "full-vocabulary")
                for name in ("miou", "pixel_accuracy", "map")
            ]
            lines.append(f"| {method} | {split} | " + " | ".join(cells) + " |")
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
    results = json.loads(RESULTS.read_text())
    fill(ROOT / "README.md", "figures", main_table(results))
    tables = {n: json.loads((ABLATIONS / f"{n}-shipped.json").read_text())["tables"] for n in NAMES}
    plot(tables, ROOT / "docs" / "images" / "ablation.png")
    body = "\n\n".join(ablation_table(tables, title) for title in tables["mini"])
    fill(ROOT / "docs" / "results.md", "figures", body)


if __name__ == "__main__":
    main()
