"""A quick score during training, on freshly composed scenes of a seed of their own (never the shipped set)."""

from __future__ import annotations

import numpy as np
import torch

from recipes.mini.losses import LAYER_WEIGHTS, layer_scores

SCENES = 48


@torch.no_grad()
def monitor(transformer, average, codec, vectors, composer, seed: int) -> tuple[float, float, float]:
    """(mIoU and accuracy among the classes present, mIoU among all words) of the averaged weights, output space."""
    own = {name: p.detach().clone() for name, p in transformer.named_parameters()}
    _assign(transformer, average)
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    rng = np.random.default_rng((seed, 0))
    words = list(composer.words)
    table = torch.stack([vectors[word] for word in words])
    confusion = np.zeros((2, len(words), len(words)), dtype=np.int64)
    for _ in range(SCENES):
        scene = composer.compose(rng)
        latents = codec.encode(torch.from_numpy(scene.image)[None].permute(0, 3, 1, 2) / 127.5 - 1).latent_dist.mean
        present = sorted({int(i) - 1 for i in np.unique(scene.mask) if i > 0})
        for row, asked in enumerate((present, list(range(len(words))))):
            scores = layer_scores(transformer, latents, table[asked][None], torch.tensor([0.15]))
            mean = sum(scores[i].softmax(dim=1) for i in list(LAYER_WEIGHTS)[1:])
            side = latents.shape[-1] // 2
            full = torch.nn.functional.interpolate(mean.unflatten(2, (-1, side)), scene.mask.shape, mode="bilinear")
            guess = np.array(asked)[full[0].argmax(dim=0).numpy()]
            pairs = (scene.mask.astype(np.int64) - 1) * len(words) + guess
            confusion[row] += np.bincount(pairs[scene.mask > 0], minlength=len(words) ** 2).reshape(len(words), -1)
    _assign(transformer, own)
    torch.set_rng_state(state)
    hit = np.diagonal(confusion, axis1=1, axis2=2)
    union = confusion.sum(1) + confusion.sum(2) - hit
    with np.errstate(invalid="ignore"):
        miou = np.nanmean(np.where(confusion.sum(2) > 0, hit / union, np.nan), axis=1)
    return round(float(miou[0]), 4), round(float(hit[0].sum() / confusion[0].sum()), 4), round(float(miou[1]), 4)


def _assign(transformer, weights: dict[str, torch.Tensor]) -> None:
    for name, parameter in transformer.named_parameters():
        parameter.data.copy_(weights[name])
