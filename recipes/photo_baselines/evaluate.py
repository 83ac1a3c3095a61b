"""Score the bare teacher on a dataset under both protocols, and write OUT/results.json.

python -m recipes.photo_baselines.evaluate --root DIR --split dev --out OUT
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from ca_seg.data.settings import EvaluationData
from ca_seg.errors import UserError
from ca_seg.evaluation.results import EvaluationResults, results_content
from ca_seg.evaluation.run import score
from ca_seg.jobs.evaluate import ALL
from ca_seg.jobs.plain import plain
from ca_seg.jobs.trainer import INFERENCE, new_trainer, seed_all
from ca_seg.predictors.predictor import Predictor
from recipes.command import run
from recipes.mini.words.wordnet import Nouns
from recipes.photo_baselines.bare_teacher import BareTeacher
from recipes.photo_baselines.leaves import covered_classes, imagenet_synsets

NAME = "bare-teacher"


def evaluate_predictor(name: str, predictor: Predictor, data: EvaluationData, out: Path, *, seed: int = 0) -> Path:
    """Score any predictor of class probabilities on one split, as `ca_seg.evaluate` does.

    Returns the path of its results.json. Raises UserError where an image could not be scored.
    """
    start = time.monotonic()
    seed_all(seed)
    trainer = new_trainer({"accelerator": "cpu", "enable_progress_bar": False}, **INFERENCE)
    (split,) = data.parts()
    module = data.module(split)
    scores = score(trainer, predictor, module, seed=seed, synonyms=data.synonyms(None))
    if not scores.complete:
        path, reason = scores.task.skipped[0]
        raise UserError(f"{len(scores.task.skipped)} images could not be scored, the first {path}: {reason}")
    content = results_content(
        name,
        module.dataset(split),
        data.name,
        {name: {split or ALL: scores}},
        {name: predictor.settings()},
        {"seed": seed, "data": plain(data)},
        time.monotonic() - start,
    )
    return EvaluationResults(content, complete=True).save(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="folder", help="a name from `ca-seg data list`")
    parser.add_argument("--root")
    parser.add_argument("--split")
    parser.add_argument("--limit", type=int, help="only the first images")
    parser.add_argument("--resolution", type=int, default=320, help="pixels of the short side")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    teacher = BareTeacher(covered_classes(Nouns.read(), imagenet_synsets()), args.resolution)
    data = EvaluationData(args.data, args.root, args.split, limit=args.limit)
    print(evaluate_predictor(NAME, teacher, data, args.out))


if __name__ == "__main__":
    run(main)
