"""Choose the features and the settings of the heads: trained on "fit", scored on "held", both parts of train.

python -m recipes.photo_jobs.choose --backbone photo

Three choices, one after the other: the parts of the features and the resolution (with the linear probe), the learning
rate of the linear probe, and the decoder with its learning rate. Dev is not read. Writes OUT/choice.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ca_seg.json_file import write_json
from ca_seg.tasks.head_settings import HeadSettings, TrainingData
from recipes.photo_jobs.msrc import FOLDER
from recipes.probe.runs import Runs
from recipes.probe.table import DECODER, LINEAR

OUT = Path("out/photographs/heads")
EPOCHS = 20
PARTS = (
    ["latents"],
    ["outputs"],
    ["concepts"],
    ["latents", "outputs"],
    ["latents", "concepts"],
    ["latents", "outputs", "concepts"],
)
RESOLUTIONS = (None, 384)  # pixels of the short side; None: the card's
LEARNING_RATES = (0.003, 0.01, 0.03)
DECODERS, DECODER_RATES = ("segformer", "fpn"), (0.001, 0.003)


class Choice:
    """The heads that were best on "held", and what all candidates scored there.

    Args:
        runs: on "fit" and "held"
        backbone: whose features are read
        resolutions: pixels of the short side to try
    """

    def __init__(self, runs: Runs, backbone: str, resolutions: tuple[int | None, ...] = RESOLUTIONS) -> None:
        self.runs, self.scores = runs, {}
        features = {
            f"{'+'.join(parts)} at {resolution or 'the card'}": replace(
                LINEAR, backbone=backbone, parts=parts, resolution=resolution
            )
            for resolution in resolutions
            for parts in PARTS
        }
        linear = self._best("features", features)
        self.linear = self._best("linear", {f"lr {lr}": replace(linear, lr=lr) for lr in LEARNING_RATES})
        self.decoder = self._best(
            "decoder",
            {
                f"{decoder}, lr {lr}": replace(
                    DECODER,
                    backbone=backbone,
                    parts=linear.parts,
                    resolution=linear.resolution,
                    options={"decoder": decoder, "width": 32},
                    lr=lr,
                )
                for decoder in DECODERS
                for lr in DECODER_RATES
            },
        )

    def content(self) -> dict[str, Any]:
        """What choice.json holds."""
        chosen = {"linear": self.linear, "decoder": self.decoder}
        return {
            "chosen": {
                name: {key: getattr(model, key) for key in ("backbone", "parts", "resolution", "kind", "options", "lr")}
                for name, model in chosen.items()
            },
            "held_miou": self.scores,
        }

    def _best(self, kind: str, candidates: Mapping[str, HeadSettings]) -> HeadSettings:
        """The candidate with the highest mIoU on "held"; the first of equal ones."""
        scores = {}
        for name, model in candidates.items():
            scores[name] = self.runs.train(f"{kind}, {name}", model, 0)["miou"]
            print(f"{kind}, {name}: {100 * scores[name]:.1f}", flush=True)
        self.scores[kind] = scores
        return candidates[max(scores, key=lambda name: scores[name])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="photo")
    parser.add_argument("--data", default=str(FOLDER))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--limit", type=int, help="only the first images of each part")
    args = parser.parse_args()
    data = TrainingData("folder", args.data, train_split="fit", val_split="held", limit=args.limit)
    choice = Choice(Runs(args.out / "choice", data, args.epochs), args.backbone)
    write_json(args.out / "choice.json", choice.content())


if __name__ == "__main__":
    main()
