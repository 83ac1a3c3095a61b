"""Scores of heads on frozen features, and of the same heads without a backbone: one budget, several seeds.

python -m recipes.probe.table --dataset scenes --out out/probe
python -m recipes.probe.table --dataset msrc --root DIR --out out/probe

Linear heads train 20 epochs in batches of 16 at a learning rate of 0.01 (0.0003 for those that begin zero-shot), with
cross-entropy at the tokens. The settings were chosen on parts of the datasets that are not reported here.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from ca_seg.tasks.head_settings import HeadSettings
from recipes.page import fill
from recipes.probe.runs import DATA, Runs, over_seeds

LINEAR = HeadSettings("mini", lr=0.01, loss_at="tokens")
OUTPUTS, CONCEPTS = replace(LINEAR, parts=["outputs"]), replace(LINEAR, parts=["concepts"])
FROM_ZERO_SHOT = HeadSettings("mini", lr=0.0003, loss_at="tokens", kind="zero-shot-linear", parts=["concepts", "maps"])
UPSAMPLING = HeadSettings("mini", lr=0.003, kind="convex-upsampling", parts=["pixels", "outputs", "maps"])
DECODER = replace(OUTPUTS, kind="smp", options={"decoder": "segformer", "width": 32}, lr=0.001)
ROWS: dict[str, tuple[str, HeadSettings | None]] = {  # None: the zero-shot maps themselves
    "zero-shot": ("mini, zero-shot (no training)", None),
    "upsampled": ("mini, zero-shot maps upsampled by a trained head", UPSAMPLING),
    "start": ("mini, probe that starts as the zero-shot map", FROM_ZERO_SHOT),
    "contrasts": ("mini, linear probe on concept-projected features, less their mean", LINEAR),
    "concepts": ("mini, linear probe on concept-projected features", CONCEPTS),
    "outputs": ("mini, linear probe on attention outputs", OUTPUTS),
    "decoder": ("mini, SMP's Segformer decoder on attention outputs", DECODER),
    "fresh-concepts": ("the same with random weights, concept-projected", replace(CONCEPTS, random_weights=True)),
    "fresh-outputs": ("the same with random weights, attention outputs", replace(OUTPUTS, random_weights=True)),
    "rgb": ("raw RGB patches", replace(LINEAR, backbone="rgb-patches")),
    "cnn": ("EfficientNet-Lite0 of ImageNet", replace(LINEAR, backbone="efficientnet-lite0")),
}


def row(runs: Runs, name: str, seeds: list[int]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each figure of a row; the zero-shot row is scored with the first seed only."""
    model = ROWS[name][1]
    if model is None:
        return over_seeds(lambda seed: runs.zero_shot(name, "mini", seed), seeds[:1])
    return over_seeds(lambda seed: runs.train(name, model, seed), seeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=("scenes", "msrc"), default="scenes")
    parser.add_argument("--root")
    parser.add_argument("--out", type=Path, default=Path("out/probe"))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--page", type=Path, help="a page whose table, marked with the dataset's name, is renewed")
    args = parser.parse_args()
    runs = Runs(args.out / args.dataset, replace(DATA[args.dataset], root=args.root), args.epochs)
    lines = ["| features | mIoU | pixel accuracy |", "|---|---|---|"]
    for name in args.rows:
        figures = row(runs, name, args.seeds)
        texts = [f"{100 * m:.1f} ± {100 * s:.1f}" for m, s in (figures["miou"], figures["pixel_accuracy"])]
        lines.append(f"| {ROWS[name][0]} | {' | '.join(texts)} |")
        print(lines[-1], flush=True)
    (args.out / f"{args.dataset}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if args.page is not None:
        fill(args.page, args.dataset, "\n".join(lines))


if __name__ == "__main__":
    main()
