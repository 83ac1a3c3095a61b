"""Fit when a word is likely in an image, for the card of a backbone that takes its words from the word table.

    python -m recipes.presence --backbone mini --data scenes --fit train --report val shifted --write

Reference words: `--count` of the taught words, chosen so that every taught word has one that is near in meaning. Each
step takes the word that raises the sum of the taught words' highest cosines most.

Questions: of each image, 1, 3 and 10 random classes that it does not show, and the same with one of them replaced by a
class that it shows (on 1 % of its pixels or more). A class without a pixel in the mask is not shown. Classes that
training never taught are not asked.

Threshold: the presence that 95 % of the questions with a shown class of the split `--fit` reach. All figures are of the
splits `--report`. With `--write`, reference.txt is written below checkpoints/, and threshold and figures into the card.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.text.encoder import WordTableText
from ca_seg.backbones.text.word_table import WordTable
from ca_seg.data.collate import Skipped, SkipUnreadable
from ca_seg.data.seeds import image_seed
from ca_seg.data.settings import DataSettings
from ca_seg.errors import UserError
from ca_seg.predictors.presence import NEAR, WordPresence
from ca_seg.predictors.settings import BackboneSettings
from ca_seg.vocabulary import IGNORE_INDEX, Vocabulary
from recipes.command import run

ROOT = Path(__file__).parents[1]
SIZES = (1, 3, 10)  # words of a question
SHOWN = 0.01  # of an image's pixels
REACHED = 0.95  # of the questions with a shown class


@dataclass(frozen=True)
class Question:
    """The presence of the most present of some words in one image."""

    size: int  # how many words
    shown: bool  # whether the image shows one of them
    presence: float


def reference_words(table: WordTable, taught: Sequence[str], count: int) -> tuple[str, ...]:
    """`count` of the taught words, such that every taught word has one that is near in meaning."""
    vectors = torch.nn.functional.normalize(table.embed(taught)[0].sum(dim=1), dim=1)
    cosines = vectors @ vectors.T
    highest, chosen = torch.full((len(taught),), -1.0), list[int]()
    for _ in range(min(count, len(taught))):
        gain = (cosines - highest).clamp_min(0).sum(dim=1)
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
        highest = torch.maximum(highest, cosines[chosen[-1]])
    return tuple(taught[index] for index in chosen)


@torch.no_grad()
def ask_questions(
    backbone: Backbone, data: DataSettings, split: str | None, references: Sequence[str], seed: int = 0
) -> Iterator[Question]:
    """Questions of every image of a split; the same ones in every run. Images that cannot be read are left out."""
    dataset = data.module(split).dataset(split)
    names, predictor = dataset.class_list.names, BackboneSettings(backbone=backbone.card.name).predictor(backbone)
    everything = data.vocabulary(names)
    unseen = backbone.unseen(everything) or {}
    taught = torch.tensor([any(phrase not in unseen for phrase in phrases) for phrases in everything.phrases])
    readable = SkipUnreadable(dataset)
    for index in range(len(dataset)):
        item = readable[index]
        if isinstance(item, Skipped):
            continue
        rng = np.random.default_rng(image_seed(seed, item["image_id"]))
        mask = item["mask"]
        pixels = torch.bincount(mask[mask != IGNORE_INDEX], minlength=len(names))
        shown = (taught & (pixels >= SHOWN * mask.numel())).nonzero()[:, 0].tolist()
        absent = (taught & (pixels == 0)).nonzero()[:, 0].tolist()
        prediction = predictor.predict(item["image"][None], [image_seed(seed, item["image_id"])])
        for size in SIZES:
            if not shown or len(absent) < size:
                continue
            others = rng.choice(absent, size, replace=False).tolist()
            for has_word, asked in ((False, others), (True, [int(rng.choice(shown)), *others[1:]])):
                vocabulary = data.vocabulary([names[i] for i in asked])
                presence = _word_presence(backbone, vocabulary, references)
                _, by_class = presence.maps(prediction)
                yield Question(size, has_word, presence.of_image(by_class[0]).highest)


def _word_presence(backbone: Backbone, vocabulary: Vocabulary, references: Sequence[str]) -> WordPresence:
    far = backbone.text.table.far_from(vocabulary.concepts, references, NEAR)  # type: ignore[attr-defined]
    return WordPresence.beside(vocabulary, far, threshold=REACHED)  # the threshold is not used here


def figures(questions: Sequence[Question], threshold: float) -> dict[str, dict[str, float]]:
    """By size of the question: AUROC, and the fraction warned of with and without a shown class."""
    table = {}
    for size in sorted({question.size for question in questions}):
        shown, absent = (
            np.array([q.presence for q in questions if q.size == size and q.shown is has_word])
            for has_word in (True, False)
        )
        table[f"{size} words"] = {
            "auroc": auroc(shown, absent),
            "warned_with_word": float((shown < threshold).mean()),
            "warned_without_word": float((absent < threshold).mean()),
        }
    return table


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """The probability that a random positive is above a random negative; equal ones count half."""
    above = positive[:, None] > negative[None]
    return float((above + 0.5 * (positive[:, None] == negative[None])).mean())


def _about(data: DataSettings, split: str | None) -> str:
    return f"{data.name}, {split or 'all'}, {len(data.module(split).dataset(split))} images"


def write_card(name: str, folder: str, references: Sequence[str], threshold: float, measured: dict[str, Any]) -> None:
    """Write checkpoints/FOLDER/reference.txt, and `presence` and the file's checksum into the card."""
    file = ROOT / "checkpoints" / folder / "reference.txt"
    file.write_text("\n".join(references) + "\n", encoding="utf-8")
    card_file = ROOT / "ca_seg" / "backbones" / "loading" / "cards" / f"{name}.yaml"
    card = yaml.safe_load(card_file.read_text(encoding="utf-8"))
    card["checksums"]["reference.txt"] = hashlib.sha256(file.read_bytes()).hexdigest()
    card["presence"] = {
        "reference_words": f"{folder}/reference.txt",
        "threshold": threshold,
        "measured": measured,
    }
    card_file.write_text(yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=110), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="mini")
    parser.add_argument("--data", default="scenes")
    parser.add_argument("--root")
    parser.add_argument("--fit", help="the split that the threshold is fitted on; by default all images")
    parser.add_argument("--report", nargs="*", default=[], help="the splits that are reported")
    parser.add_argument("--limit", type=int, help="only the first images of each split")
    parser.add_argument("--count", type=int, default=64, help="reference words")
    parser.add_argument(
        "--references", type=Path, help="a file of these in place of chosen ones, such as a former list"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true", help="write reference.txt and the card")
    args = parser.parse_args(arguments)
    backbone = BackboneSettings(backbone=args.backbone).load(args.device)
    text, card = backbone.text, backbone.card
    if not isinstance(text, WordTableText) or text.taught is None:
        raise UserError(f"the card of {args.backbone} names no taught_words", fix="name the file in the card")
    data = DataSettings(name=args.data, root=args.root, limit=args.limit)
    if args.references is None:
        references = reference_words(text.table, text.taught, args.count)
    else:
        references = tuple(args.references.read_text(encoding="utf-8").splitlines())
    fitted = list(ask_questions(backbone, data, args.fit, references))
    threshold = round(float(np.quantile([q.presence for q in fitted if q.shown], 1 - REACHED)), 4)
    measured: dict[str, Any] = {"fitted_on": _about(data, args.fit)}
    for split in args.report:
        table = figures(list(ask_questions(backbone, data, split, references)), threshold)
        rounded = {size: {name: round(value, 3) for name, value in row.items()} for size, row in table.items()}
        measured[_about(data, split)] = rounded
    print(yaml.safe_dump({"threshold": threshold, "measured": measured}, sort_keys=False), end="")
    if args.write:
        write_card(card.name, card.folder, references, threshold, measured)
    return 0


if __name__ == "__main__":
    run(main)
