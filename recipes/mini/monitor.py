"""A quick evaluation during training, on freshly composed scenes with a separate seed (not the shipped scenes)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

from ca_seg.decision.argmax import predict_mask
from ca_seg.metrics.confusion import ConfusionMatrix, miou, pixel_accuracy
from recipes.mini.batches import FULL
from recipes.mini.images import pixels, resized
from recipes.mini.losses import LAYER_WEIGHTS, layer_scores, token_grid

SCENES = 48


@torch.no_grad()
def monitor(
    transformer, average, codec, vectors, composer, seed: int, *, side: int = FULL, scenes: int = SCENES
) -> tuple[float, float, float]:
    """(mIoU and accuracy among the classes present, mIoU among all words) of the averaged weights, output space.

    Scenes are read at `side` pixels and scored at the size at which they were composed.
    """
    rng = np.random.default_rng((seed, 0))
    words = list(composer.words)
    table = torch.stack([vectors[word] for word in words])
    oracle, full = ConfusionMatrix(len(words)), ConfusionMatrix(len(words))
    with averaged(transformer, average, seed):
        for _ in range(scenes):
            scene = composer.compose(rng)
            latents = codec.encode(resized(pixels(scene.image[None]), side)).latent_dist.mean
            present = sorted({int(i) - 1 for i in np.unique(scene.mask) if i > 0})
            mask = torch.from_numpy(scene.mask).long() - 1
            for matrix, classes in ((oracle, present), (full, list(range(len(words))))):
                scores = layer_scores(transformer, latents, table[classes][None], torch.tensor([0.15]))
                mean = sum(scores[i].softmax(dim=1) for i in list(LAYER_WEIGHTS)[1:])
                predicted = predict_mask(token_grid(latents).unflatten(mean), *mask.shape).mask[0]
                matrix.update(torch.tensor(classes)[predicted], mask)
    oracle_counts, full_counts = oracle.matrix, full.matrix  # `compute` would wait for other processes
    figures = (
        miou(oracle_counts, over="ground_truth"),
        pixel_accuracy(oracle_counts),
        miou(full_counts, over="ground_truth"),
    )
    return tuple(round(float(figure), 4) for figure in figures)


@contextmanager
def averaged(transformer: torch.nn.Module, average: Mapping[str, torch.Tensor], seed: int) -> Iterator[None]:
    """The transformer with its averaged weights, and noise of `seed`; afterwards both are as they were."""
    training_weights = {name: p.detach().clone() for name, p in transformer.named_parameters()}
    state = torch.get_rng_state()
    _assign(transformer, average)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        _assign(transformer, training_weights)
        torch.set_rng_state(state)


def _assign(transformer, weights: Mapping[str, torch.Tensor]) -> None:
    for name, parameter in transformer.named_parameters():
        parameter.data.copy_(weights[name])
