"""Choose the features and the settings of the heads: trained on "fit", scored on "held", both parts of train.

python -m recipes.photo_jobs.choose --backbone photo

One choice after the other: the parts of the features, the resolution and the learning rate of the linear probe, then
the decoder with its learning rate. Dev is not read. Writes OUT/choice.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ca_seg.json_file import write_json
from ca_seg.tasks.head_settings import HeadSettings, TrainingData
from recipes.command import run
from recipes.photo_jobs.msrc import FOLDER
from recipes.probe.runs import Runs
from recipes.probe.table import DECODER, LINEAR

OUT = Path("out/photographs/heads")
EPOCHS, SEED = 20, 0
PARTS = (
    ["latents"],
    ["outputs"],
    ["contrasts"],
    ["latents", "outputs"],
    ["latents", "contrasts"],
    ["latents", "outputs", "contrasts"],
)
RESOLUTIONS = (None, 384)  # pixels of the short side; None: the card's
LEARNING_RATES = (0.003, 0.01, 0.03)
DECODERS, DECODER_RATES = ("segformer",), (0.001, 0.003)


class Choice:
    """The heads that were best on "held", and what all candidates scored there.

    Args:
        runs: on "fit" and "held"
        backbone: whose features are read
    """

    def __init__(self, runs: Runs, backbone: str) -> None:
        self.runs, self.scores = runs, {}
        linear = replace(LINEAR, backbone=backbone)
        linear = self._best("features", {" + ".join(parts): replace(linear, parts=parts) for parts in PARTS})
        sizes = {f"{size} px" if size else "of the card": replace(linear, resolution=size) for size in RESOLUTIONS}
        linear = self._best("resolution", sizes)
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
            scores[name] = self.runs.train(_run_name(model), model, SEED)["miou"]
            print(f"{kind}, {name}: {100 * scores[name]:.1f}", flush=True)
        self.scores[kind] = scores
        return candidates[max(scores, key=lambda name: scores[name])]


def _run_name(model: HeadSettings) -> str:
    """The same for equal settings, so that nothing is trained twice."""
    size = "card" if model.resolution is None else f"{model.resolution}px"
    return f"{'+'.join(model.parts)}-{size}-{model.options.get('decoder', model.kind)}-{model.lr}"


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
    run(main)
