"""Label composed scenes by a trained `mini` itself: `python -m recipes.mini.self_labels --out runs/mini/labels`.

The second stage of training (`recipes.mini.self_train`) learns from these labels. They are made of captions alone:

    scene, caption ──► maps of the caption's words at 128 and 192 px ──mean──► PAMR ──► word of each pixel, or "unsure"

Knowing which words are true makes the maps better than those over all words, and PAMR moves their edges from the grid
of tokens to those of the image. The mask that the composer drew is not read.

    OUT/shard_000.npz    images uint8 [S, 128, 128, 3], labels uint8 [S, 128, 128]: 1 + index of the word, 0 = unsure

A shard that is there is kept, so an interrupted command continues. `--shards 0 8` and `--shards 8 16` share the work.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor
from torch.nn.functional import interpolate

from ca_seg.backbones.pixel_codec import PixelCodec
from ca_seg.backbones.text.word_table import WordTable
from ca_seg.refine.pamr import pamr
from recipes.mini.batches import FULL
from recipes.mini.images import pixels, resized
from recipes.mini.losses import LAYER_WEIGHTS, layer_scores, token_grid
from recipes.mini.scenes.compose import SceneComposer
from recipes.mini.scenes.objects import ObjectLibrary
from recipes.mini.train import CACHE, CHECKPOINTS

SEED = 9_000
SHARD = 500  # scenes
SIDES = (128, 192)  # pixels at which a scene is read
TIMESTEP = 0.15
SURE = 0.5  # the least probability, after PAMR, of a pixel that keeps its word


class SelfLabeller:
    """Labels of a scene from its caption, by the maps of a trained transformer.

    Args:
        transformer, codec: of the trained backbone
        vectors: of all words [C, 384], in the order of the composer's words
    """

    def __init__(self, transformer: FluxTransformer2DModel, codec: PixelCodec, vectors: Tensor) -> None:
        self.transformer, self.codec, self.vectors = transformer, codec, vectors

    @torch.no_grad()
    def labels(self, image: np.ndarray, words: Sequence[int]) -> np.ndarray:
        """The word of each pixel: uint8 [H, W], 1 + index, 0 where no word of the caption is likely enough.

        Args:
            image: uint8 [H, W, 3]
            words: indices of the caption's words
        """
        scene = pixels(image[None])
        height, width = scene.shape[-2:]
        maps = torch.zeros(1, len(words), height, width)
        for side in SIDES:
            latents = self.codec.encode(resized(scene, side)).latent_dist.mean
            concepts = self.vectors[list(words)][None]
            scores = layer_scores(self.transformer, latents, concepts, torch.tensor([TIMESTEP]))
            mean = sum(scores[layer].softmax(dim=1) for layer in LAYER_WEIGHTS) / len(LAYER_WEIGHTS)
            grid = token_grid(latents).unflatten(mean)
            maps += interpolate(grid, size=(height, width), mode="bilinear", align_corners=False) / len(SIDES)
        best = pamr(maps, scene / 2 + 0.5)[0].max(dim=0)
        labels = torch.tensor(words)[best.indices] + 1
        return torch.where(best.values >= SURE, labels, 0).numpy().astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, default=CHECKPOINTS / "mini", help="folder of transformer and vae")
    parser.add_argument("--out", type=Path, default=Path("runs/mini/labels"))
    parser.add_argument("--shards", type=int, nargs=2, default=(0, 16), metavar=("FIRST", "END"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    composer = SceneComposer(ObjectLibrary.load(CACHE, style="3d"), height=FULL, width=FULL)
    table, index = WordTable.load(CHECKPOINTS / "words"), {word: i for i, word in enumerate(composer.words)}
    vectors = torch.stack([table.vector(word) for word in composer.words])
    transformer = FluxTransformer2DModel.from_pretrained(args.weights / "transformer", torch_dtype=torch.float32)
    labeller = SelfLabeller(transformer, PixelCodec.from_pretrained(args.weights / "vae"), vectors)
    for shard in range(*args.shards):
        target = args.out / f"shard_{shard:03d}.npz"
        if target.exists():
            continue
        scenes = [composer.compose(np.random.default_rng((SEED, shard, number))) for number in range(SHARD)]
        labels = [labeller.labels(scene.image, [index[word] for word in scene.words]) for scene in scenes]
        part = target.with_suffix(".part")
        with part.open("wb") as file:
            np.savez(file, images=np.stack([scene.image for scene in scenes]), labels=np.stack(labels))
        os.replace(part, target)
        print(f"{target}: {np.mean([label > 0 for label in labels]):.1%} of the pixels are sure", flush=True)


if __name__ == "__main__":
    main()
