"""Write the shipped evaluation scenes: `python -m recipes.mini.scenes.evaluation_set --out datasets/scenes`.

300 scenes of 128 x 128 pixels, from seeds that training does not use:

    in_distribution   240   Fluent 3D objects, as in training
    shifted            60   the same words, drawn in another style (Noto)

Object words are chosen so that each occurs equally often. Stuff is chosen at random.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.mini.fetch import CACHE
from recipes.mini.scenes.compose import Scene, SceneComposer
from recipes.mini.scenes.objects import ObjectLibrary

SEEDS = {"in_distribution": 20_261_124, "shifted": 20_261_125}
# The in_distribution scenes are also divided into `train` (160) and `val` (80), for heads that are trained on masks.
COUNTS = {"in_distribution": (240, "3d"), "shifted": (60, "drawing")}
ABOUT = """# Scenes

300 composed images of 128 x 128 pixels with exact masks: 1 to 4 emoji objects (150 words) on 1 or 2 generated stuffs
(16 words). `splits.json` names two parts:

- `in_distribution` (240): objects in Microsoft's Fluent 3D style, as the shipped backbones were trained on. No scene
  was seen in training; the emoji were.
- `shifted` (60): the same words in the drawing style of Google's Noto emoji, which no backbone was trained on.

`train` (160) and `val` (80) part `in_distribution` again, for heads that are trained on masks.

`images/*.png`, `masks/*.png` (palette PNG, the ids of `classes.json`; every pixel has a class, an object owns a pixel
that it covers by more than half), `classes.json`, `splits.json`.

Made by `python -m recipes.mini.scenes.evaluation_set` (seeds {seed}). SHA-256 over all images and masks in order of
their names: `{digest}`.

Licences: Fluent emoji, Copyright (c) Microsoft Corporation, MIT. Noto emoji, Copyright Google, Apache-2.0. The stuffs
are generated. The scenes are released under Apache-2.0, with these notices (see NOTICE).
"""


def scenes(composer: SceneComposer, count: int, seed: int) -> Iterator[Scene]:
    """`count` scenes in which each object word occurs about equally often."""
    deck: list[str] = []
    shown: Counter[str] = Counter()
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        wanted = int(rng.integers(1, 5))
        if len(deck) < wanted:
            fresh = [composer.objects.words[i] for i in rng.permutation(len(composer.objects.words))]
            deck += sorted(fresh, key=lambda word: shown[word])
        words, deck = deck[:wanted], deck[wanted:]
        scene = composer.compose(rng, objects=(wanted, wanted), words=list(dict.fromkeys(words)))
        shown.update(scene.words)
        yield scene


def write(out: Path, cache: Path) -> None:
    """Write images, masks, classes.json, splits.json and README.md into `out`; `cache` has the emoji."""
    palette = _palette()
    splits: dict[str, list[str]] = {}
    digest, number = hashlib.sha256(), 0
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for split, (count, style) in COUNTS.items():
        composer = SceneComposer(ObjectLibrary.load(cache, style=style))
        splits[split] = []
        for scene in scenes(composer, count, SEEDS[split]):
            image_id = f"scene_{number:04d}"
            number += 1
            Image.fromarray(scene.image).save(out / "images" / f"{image_id}.png", optimize=True)
            mask = Image.fromarray(scene.mask, mode="P")
            mask.putpalette(palette)
            mask.save(out / "masks" / f"{image_id}.png", optimize=True)
            splits[split].append(image_id)
    for path in sorted([*out.glob("images/*.png"), *out.glob("masks/*.png")]):
        digest.update(path.read_bytes())
    objects = len(composer.objects.words)
    classes = {str(i + 1): word for i, word in enumerate(composer.words)}
    content = {
        "ignore": [0],
        "classes": classes,
        "kinds": {i: "object" if int(i) <= objects else "stuff" for i in classes},
        "source": "composed by recipes/mini of Fluent emoji (Microsoft), Noto emoji (Google) and generated stuff",
        "licence": "Apache-2.0; contains Fluent emoji (MIT, Microsoft Corporation) and Noto emoji (Apache-2.0, Google)",
    }
    inside = splits["in_distribution"]
    splits |= {"train": inside[:160], "val": inside[160:]}
    (out / "classes.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (out / "splits.json").write_text(json.dumps(splits, indent=1) + "\n", encoding="utf-8")
    about = ABOUT.format(seed=", ".join(map(str, SEEDS.values())), digest=digest.hexdigest())
    (out / "README.md").write_text(about, encoding="utf-8")


def _palette() -> bytes:
    """Black for void, then colours that step around the hue circle by the golden angle."""
    import colorsys

    colours = [(0.0, 0.0, 0.0)]
    colours += [colorsys.hsv_to_rgb(i * 0.381966 % 1, 0.55 + 0.4 * (i % 2), 0.95 - 0.25 * (i % 3)) for i in range(255)]
    return bytes(round(255 * value) for colour in colours for value in colour)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("datasets/scenes"))
    parser.add_argument("--cache", type=Path, default=CACHE)
    args = parser.parse_args()
    write(args.out, args.cache)
