"""A quick score during training, on freshly composed scenes of a seed of their own (never the shipped set)."""

from __future__ import annotations

import numpy as np
import torch

from ca_seg.decision.argmax import predict_mask
from ca_seg.metrics.confusion import ConfusionMatrix, miou, pixel_accuracy
from recipes.mini.losses import FLUX, LAYER_WEIGHTS, layer_scores

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
    oracle, everything = ConfusionMatrix(len(words)), ConfusionMatrix(len(words))
    for _ in range(SCENES):
        scene = composer.compose(rng)
        latents = codec.encode(torch.from_numpy(scene.image)[None].permute(0, 3, 1, 2) / 127.5 - 1).latent_dist.mean
        present = sorted({int(i) - 1 for i in np.unique(scene.mask) if i > 0})
        mask = torch.from_numpy(scene.mask).long() - 1
        for matrix, asked in ((oracle, present), (everything, list(range(len(words))))):
            scores = layer_scores(transformer, latents, table[asked][None], torch.tensor([0.15]))
            mean = sum(scores[i].softmax(dim=1) for i in list(LAYER_WEIGHTS)[1:])
            guess = predict_mask(FLUX.grid(latents).unflatten(mean), *mask.shape).mask[0]
            matrix.update(torch.tensor(asked)[guess], mask)
    _assign(transformer, own)
    torch.set_rng_state(state)
    present_given = oracle.compute()
    figures = (
        miou(present_given, over="ground_truth"),
        pixel_accuracy(present_given),
        miou(everything.compute(), over="ground_truth"),
    )
    return tuple(round(float(figure), 4) for figure in figures)


def _assign(transformer, weights: dict[str, torch.Tensor]) -> None:
    for name, parameter in transformer.named_parameters():
        parameter.data.copy_(weights[name])
