"""What a probe reaches on frozen features, beside what it reaches without them: one budget, several seeds.

python -m recipes.probe.table --dataset scenes --out out/probe
python -m recipes.probe.table --dataset msrc --root DIR --out out/probe

Linear heads train 20 epochs in batches of 16 at a learning rate of 0.01 (0.0003 for those that begin zero-shot),
cross entropy at the tokens. The settings were chosen on parts that are not reported here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from recipes.probe.cells import Cells

LINEAR = ["--model.lr", "0.01", "--model.loss_at", "tokens"]
START = ["--model.lr", "0.0003", "--model.loss_at", "tokens", "--model.kind", "zero-shot-linear"]
FINE = ["--model.lr", "0.003", "--model.kind", "convex-upsampling", "--model.parts", "[pixels, outputs, maps]"]
OUTPUTS = ["--model.parts", "[outputs]"]
FRESH = ["--model.random_weights", "true"]
ROWS = {
    "zero-shot": ("mini, zero-shot (nothing learnt)", [*START, "--model.parts", "[maps]", "--model.lr", "1e-12"]),
    "upsampled": ("mini, zero-shot maps upsampled by a learnt head", FINE),
    "start": ("mini, probe that begins as the zero-shot map", [*START, "--model.parts", "[concepts, maps]"]),
    "concepts": ("mini, linear probe on concept-projected features", LINEAR),
    "outputs": ("mini, linear probe on attention outputs", [*LINEAR, *OUTPUTS]),
    "decoder": (
        "mini, SMP's Segformer decoder on attention outputs",
        [*OUTPUTS, "--model.kind", "smp", "--model.options", "{decoder: segformer, width: 32}", "--model.lr", "0.001",
         "--model.loss_at", "tokens"],
    ),
    "fresh-concepts": ("the same with random weights, concept-projected", [*LINEAR, *FRESH]),
    "fresh-outputs": ("the same with random weights, attention outputs", [*LINEAR, *OUTPUTS, *FRESH]),
    "rgb": ("raw RGB patches", [*LINEAR, "--model.backbone", "rgb-patches"]),
    "cnn": ("EfficientNet-Lite0 of ImageNet", [*LINEAR, "--model.backbone", "efficientnet-lite0"]),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=("scenes", "msrc"), default="scenes")
    parser.add_argument("--root")
    parser.add_argument("--out", type=Path, default=Path("out/probe"))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    args = parser.parse_args()
    cells = Cells(args.out, args.dataset, args.root, args.epochs)
    lines = ["| features | mIoU | pixel accuracy |", "|---|---|---|"]
    for row in args.rows:
        label, given = ROWS[row]
        found = cells.over_seeds(row, given, args.seeds if row != "zero-shot" else args.seeds[:1])
        shown = [f"{100 * m:.1f} ± {100 * s:.1f}" for m, s in (found["miou"], found["pixel_accuracy"])]
        lines.append(f"| {label} | {' | '.join(shown)} |")
        print(lines[-1], flush=True)
    (args.out / f"{args.dataset}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
