"""mIoU of a linear probe against the number of labelled images, the layer and the timestep, as three plots.

python -m recipes.probe.curves --dataset msrc --root DIR --out out/probe --picture docs/images/probe_curves.png
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from ca_seg.tasks.head_settings import HeadSettings, TrainingData
from ca_seg.visual.plots import lines_plot
from recipes.probe.runs import DATA, Runs, over_seeds
from recipes.probe.table import CONCEPTS, LINEAR, OUTPUTS

SHOTS = {"msrc": (1, 5, 10, None), "scenes": (1, 2, None)}  # every class is in so many images, or all images
LAYERS, TIMESTEPS = (0, 1, 2, 3), (0.02, 0.15, 0.3, 0.5, 0.7)
KINDS = {
    "attention outputs": ("outputs", OUTPUTS),
    "concept-projected": ("concepts", CONCEPTS),
    "EfficientNet-Lite0": ("cnn", replace(LINEAR, backbone="efficientnet-lite0")),
}


def epochs_for(few: TrainingData, whole: TrainingData, epochs: int) -> int:
    """Epochs over few images that train on as many images as `epochs` epochs over all of them."""
    return round(epochs * len(whole.module(seed=0).training_set()) / len(few.module(seed=0).training_set()))


def in_a_row(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one height side by side."""
    row = Image.new("RGB", (sum(picture.width for picture in pictures), pictures[0].height))
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=("scenes", "msrc"), default="msrc")
    parser.add_argument("--root")
    parser.add_argument("--out", type=Path, default=Path("out/probe"))
    parser.add_argument("--picture", type=Path, help="where the plots are drawn; by default in --out")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    data, all_shots = replace(DATA[args.dataset], root=args.root), SHOTS[args.dataset]
    runs = Runs(args.out / args.dataset, data, args.epochs)

    def miou(name: str, model: HeadSettings, shots: int | None = None) -> float:
        images = replace(data, shots=shots)
        epochs = args.epochs if shots is None else epochs_for(images, data, args.epochs)
        figures = over_seeds(lambda seed: runs.train(name, model, seed, data=images, epochs=epochs), args.seeds)
        return 100 * figures["miou"][0]

    curves: dict[str, dict[str, list[tuple[float, float]]]] = {"shots": {}, "layer": {}, "timestep": {}}
    for label, (name, model) in KINDS.items():
        curves["shots"][label] = [
            (float(index), miou(name if shots is None else f"{name}-{shots}-shots", model, shots))
            for index, shots in enumerate(all_shots)
        ]
    for label in ("attention outputs", "concept-projected"):
        name, model = KINDS[label]
        curves["layer"][label] = [
            (layer, miou(f"{name}-layer-{layer}", replace(model, layers=(layer,)))) for layer in LAYERS
        ]
        curves["timestep"][label] = [
            (timestep, miou(f"{name}-t-{timestep}", replace(model, timesteps=(timestep,)))) for timestep in TIMESTEPS
        ]
    (args.out / f"{args.dataset}-curves.json").write_text(json.dumps(curves, indent=1) + "\n", encoding="utf-8")
    shots = ", ".join("all" if s is None else str(s) for s in all_shots)
    axes = {
        "shots": f"labelled images of a class: {shots}",
        "layer": "joint attention read",
        "timestep": "timestep",
    }
    ticks = {"shots": range(len(all_shots)), "layer": LAYERS, "timestep": TIMESTEPS}
    plots = [lines_plot("", axes[kind], "mIoU, %", lines, ticks=list(ticks[kind])) for kind, lines in curves.items()]
    in_a_row(plots).save(args.picture or args.out / f"{args.dataset}-curves.png")


if __name__ == "__main__":
    main()
