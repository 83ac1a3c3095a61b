"""Write the shipped files of a trained run: `python -m recipes.photo.export --name photo [--out runs/photo]`.

checkpoints/NAME/transformer/   config.json, diffusion_pytorch_model.safetensors (averaged weights, float16)
checkpoints/NAME/vae/           the encoder with its classifier left out, and the decoder (float16); photo-words reads
                                that of photo
checkpoints/NAME/taught.txt     the words that the training taught, one a line
checkpoints/NAME/curve.csv, curve.png
ca_seg/backbones/loading/cards/NAME.yaml    checksums, parameters and training are filled in
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import FluxTransformer2DModel

from ca_seg.backbones.loading.card import find_card
from ca_seg.backbones.text.word_table import WordTable
from recipes.mini.curve import draw_curve
from recipes.mini.export import ROOT, write_card
from recipes.photo.cache import open_codec
from recipes.photo.data import FeatureCache
from recipes.photo.fetch import CACHE
from recipes.photo.model import ARCHITECTURE
from recipes.photo.sources import SOURCES
from recipes.photo.train import LOSSES, NAMES, WORDS
from recipes.photo.words import Lexicon

OBJECTIVES = {
    "photo": "losses on the maps of double blocks 1 to 3: the words of pictures and of quarters of 2 x 2 quilts, the "
    "share of 1,400 words that a frozen ImageNet classifier sees at each position, and the classes of three open "
    "segmenters and two open detectors, which were trained with masks and boxes (one of each on COCO); flow matching "
    "on 6 % of the steps",
    "photo-words": "losses on the maps of double blocks 1 to 3: the words of pictures and of quarters of 2 x 2 quilts, "
    "and the share of 1,400 words that a frozen ImageNet classifier sees at each position; flow matching on 6 % of the "
    "steps. No mask of a person or of a network is used",
}
COUNTED = ("step", "pictures", "seconds")  # columns of a curve that count from the start of a run
LEAST = 8  # pictures that a word needs to count as taught


def export(
    name: str, run: Path, cache: Path, hardware: str, taught_before: Path | None = None, after: Sequence[Path] = ()
) -> None:
    """Write the weights, the curve, the taught words and the card of backbone `name`.

    A run that began with trained weights knows their words too: `taught_before` is the list of these, and `after` are
    the folders of the runs that made them, in order, whose steps and curves come before.
    """
    state = torch.load(run / "last.pt", weights_only=True, map_location="cpu")
    target = ROOT / "checkpoints" / name
    transformer = FluxTransformer2DModel(**ARCHITECTURE)
    transformer.load_state_dict(state["average"])
    transformer.half().save_pretrained(target / "transformer", safe_serialization=True)
    if not find_card(name).autoencoder_of:
        codec = open_codec(cache)
        decoder = run / "decoder.pt"
        if decoder.exists():
            codec.decoder.load_state_dict(torch.load(decoder, weights_only=True))
        codec.half().save_pretrained(target / "vae", safe_serialization=True)
    known = [] if taught_before is None else taught_before.read_text(encoding="utf-8").splitlines()
    taught = sorted({*taught_words(name, cache), *known})
    (target / "taught.txt").write_text("\n".join(taught) + "\n", encoding="utf-8")
    counts = join_curves([*after, run], target / "curve.csv")
    draw_curve(target / "curve.csv", target / "curve.png", count="pictures", losses=LOSSES, where="held-back pictures")
    used = {r["source"] for f in (cache / "features").glob("[0-9]*.json") for r in json.loads(f.read_text())}
    trained = {
        "data": "; ".join(f"{s.name} ({s.repository}; {s.terms})" for s in SOURCES if s.name in used),
        "objective": OBJECTIVES[name],
        "steps": counts["step"],
        "images": counts["pictures"],
        "seconds": counts["seconds"],
        "hardware": hardware,
    }
    write_card(name, transformer, trained)


def join_curves(runs: Sequence[Path], target: Path) -> Counter[str]:
    """Write one curve of runs that went on from each other, and give their counts together (`Progress`)."""
    counts: Counter[str] = Counter()
    rows: list[dict[str, str]] = []
    for run in runs:
        with (run / "curve.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                rows.append(row | {name: str(int(row[name]) + counts[name]) for name in COUNTED})
        progress = torch.load(run / "last.pt", weights_only=True, map_location="cpu", mmap=True)["progress"]
        counts.update({name: round(count) for name, count in progress.items()})
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return counts


def taught_words(name: str, cache: Path) -> list[str]:
    """The words of at least LEAST pictures, and those of the classifier."""
    lexicon = Lexicon(WordTable.load(WORDS))
    counts = dict.fromkeys(lexicon.leaves, LEAST)
    for example in FeatureCache(cache, lexicon, teachers=name == "photo").examples:
        for word in () if example.held_back else example.words:
            counts[word] = counts.get(word, 0) + 1
    return sorted(word for word, count in counts.items() if count >= LEAST)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", choices=NAMES, required=True)
    parser.add_argument("--out", type=Path, help="the folder of the run (default: runs/NAME)")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--taught-before", type=Path, help="the words of the weights that the run began with")
    parser.add_argument("--after", type=Path, nargs="+", default=[], help="folders of the runs that made these weights")
    parser.add_argument("--hardware", required=True, help="what trained it, for the card")
    args = parser.parse_args()
    export(args.name, args.out or Path("runs") / args.name, args.cache, args.hardware, args.taught_before, args.after)
