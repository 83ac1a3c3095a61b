"""Which settings read a backbone best: `python -m recipes.photo.choose --name photo` prints mIoU for each.

Measured on pictures that were held back, with the segmenters' masks as the truth; the card is then edited by hand. The
pictures are 256 pixels wide, so what they say about resolution is what enlarging a small picture gains.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from ca_seg import Vocabulary, load_backbone
from ca_seg.backbones.text.word_table import WordTable
from recipes.photo.cache import as_pixels
from recipes.photo.data import FeatureCache
from recipes.photo.fetch import CACHE
from recipes.photo.labels import TEACHER_WORDS
from recipes.photo.model import READ_LAYERS
from recipes.photo.monitor import HeldBackScores
from recipes.photo.pack import read_shard
from recipes.photo.train import WORDS
from recipes.photo.words import Lexicon

RESOLUTIONS = (256, 320, 384)
TIMESTEPS = (0.02, 0.05, 0.15)
LAYERS = ((3,), (2, 3), (1, 2, 3))
POWERS = (0.3, 0.5, 0.7)  # of the refinement step balance, with READ_LAYERS


def choose(name: str, cache: Path, pictures: int) -> None:
    """Print the mIoU among the classes present, and among all words, for every combination."""
    features = FeatureCache(cache, Lexicon(WordTable.load(WORDS)), teachers=True)
    examples = [e for e in features.examples if e.held_back and e.tagged][:pictures]
    masks = features.teacher_masks(examples)
    records = sorted((cache / "features").glob("[0-9]*.json"))
    shards = {e.shard: list(read_shard(cache / "shards" / f"{records[e.shard].stem}.tar")) for e in examples}
    pixels = [(as_pixels([shards[e.shard][e.row][1]]) + 1) / 2 for e in examples]
    vocabulary = Vocabulary.from_names(list(TEACHER_WORDS))
    for resolution, timestep in itertools.product(RESOLUTIONS, TIMESTEPS):
        backbone = load_backbone(name, resolution=resolution)
        settings = [*((layers, 0.0) for layers in LAYERS), *((READ_LAYERS, power) for power in POWERS)]
        by_setting = {(layers, power): HeldBackScores(power) for layers, power in settings}
        for image, mask in zip(pixels, masks, strict=True):
            asked = backbone.record(image, layers=(1, 2, 3), timesteps=[timestep]).ask(vocabulary)
            scores = {i: asked.maps(softmax=False, layers=[i])[0] for i in (1, 2, 3)}
            for (layers, _), held_back in by_setting.items():
                held_back.add([scores[i] for i in layers], mask)
        for (layers, power), held_back in by_setting.items():
            oracle, full = held_back.miou()
            line = f"{100 * oracle:.1f} / {100 * full:.1f}"
            print(f"{resolution} px, t {timestep}, layers {layers}, balance {power}: {line}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="photo")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--pictures", type=int, default=150)
    args = parser.parse_args()
    choose(args.name, args.cache, args.pictures)
