"""mIoU of a linear probe against labelled images, against the layer and against the timestep, as plots.

python -m recipes.probe.curves --dataset msrc --root DIR --out out/probe
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ca_seg.data.datamodule import SegmentationData
from ca_seg.visual.plots import lines_plot
from recipes.probe.cells import Cells
from recipes.probe.table import LINEAR, OUTPUTS

SHOTS = {"msrc": (1, 5, 10, None), "scenes": (1, 2, None)}  # every class is in so many images, or all images
LAYERS, TIMES = (0, 1, 2, 3), (0.02, 0.15, 0.3, 0.5, 0.7)
KINDS = {
    "attention outputs": ("outputs", [*LINEAR, *OUTPUTS]),
    "concept-projected": ("concepts", LINEAR),
    "EfficientNet-Lite0": ("cnn", [*LINEAR, "--model.backbone", "efficientnet-lite0"]),
}


def as_many_steps(dataset: str, root: str | None, shots: int, epochs: int) -> int:
    """Epochs over a few images that show as many images as `epochs` over all."""
    whole = SegmentationData(dataset, root, train_split="train").training_set()
    few = SegmentationData(dataset, root, train_split="train", shots=shots).training_set()
    return round(epochs * len(whole) / len(few))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=("scenes", "msrc"), default="msrc")
    parser.add_argument("--root")
    parser.add_argument("--out", type=Path, default=Path("out/probe"))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    cells = Cells(args.out, args.dataset, args.root, args.epochs)

    def at(name: str, given: list[str]) -> float:
        return 100 * cells.over_seeds(name, given, args.seeds)["miou"][0]

    longer = {s: as_many_steps(args.dataset, args.root, s, args.epochs) for s in SHOTS[args.dataset] if s is not None}
    found: dict[str, dict[str, list[tuple[float, float]]]] = {"shots": {}, "layer": {}, "timestep": {}}
    for label, (name, given) in KINDS.items():
        points = []
        for place, shots in enumerate(SHOTS[args.dataset]):
            more = [] if shots is None else ["--data.shots", str(shots), "--trainer.max_epochs", str(longer[shots])]
            points.append((float(place), at(name if shots is None else f"{name}-{shots}-shots", [*given, *more])))
        found["shots"][label] = points
    for label in ("attention outputs", "concept-projected"):
        name, given = KINDS[label]
        found["layer"][label] = [(n, at(f"{name}-layer-{n}", [*given, "--model.layers", f"[{n}]"])) for n in LAYERS]
        found["timestep"][label] = [(t, at(f"{name}-t-{t}", [*given, "--model.timesteps", f"[{t}]"])) for t in TIMES]
    (args.out / f"{args.dataset}-curves.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    shots = ", ".join("all" if s is None else str(s) for s in SHOTS[args.dataset])
    across = {
        "shots": f"labelled images of a class: {shots}",
        "layer": "joint attention read",
        "timestep": "timestep",
    }
    ticks = {"shots": range(len(SHOTS[args.dataset])), "layer": LAYERS, "timestep": TIMES}
    for kind, lines in found.items():
        lines_plot("", across[kind], "mIoU, %", lines, ticks=list(ticks[kind])).save(
            args.out / f"{args.dataset}-{kind}.png"
        )


if __name__ == "__main__":
    main()
