"""What the shipped backbones are trained on: flow matching, and (for `mini`) a loss on maps that knows captions only.

The map loss asks a recorded image a list of words of which the caption says which are true. Masks are never seen.

    p[word, token] = softmax over the words of <concept output, image output>     (the map itself)

    candidate   -log of the p of all true words together, mean over tokens    nothing absent may be seen anywhere
    presence    -log of the mean of a true word's k best p                    everything present must be seen somewhere
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.families.flux import Flux, pack
from ca_seg.concept.ask import Layout, ask_streams
from ca_seg.concept.record import record_streams

FLUX = Flux()
LAYER_WEIGHTS = {1: 0.25, 2: 0.5, 3: 1.0}


def noised(latents: torch.Tensor, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x_t = (1 - t) x_0 + t e and the velocity e - x_0 (flow matching, as FLUX.1)."""
    noise = torch.randn_like(latents)
    t = timesteps[:, None, None, None]
    return (1 - t) * latents + t * noise, noise - latents


def flow_loss(transformer: nn.Module, latents: torch.Tensor, text: TextTokens) -> torch.Tensor:
    """Mean squared error of the velocity; timesteps logit-normal, as in SD3 (Esser et al. 2024, section 3.1)."""
    timesteps = torch.randn(len(latents)).sigmoid()
    x, velocity = noised(latents, timesteps)
    predicted = transformer(**FLUX.inputs(transformer, x, text, timesteps, 0.0)).sample
    return (predicted.float() - pack(velocity)).square().mean()


def layer_scores(
    transformer: nn.Module, latents: torch.Tensor, concepts: torch.Tensor, timesteps: torch.Tensor
) -> dict[int, torch.Tensor]:
    """Raw output-space scores [B, C, N] of LAYER_WEIGHTS' layers, for concepts [B, C, 384] and an empty prompt."""
    x, _ = noised(latents, timesteps)
    batch, width = len(latents), concepts.shape[-1]
    attentions, last = FLUX.attentions(transformer), max(LAYER_WEIGHTS)
    none = latents.new_zeros(batch, width)
    empty = TextTokens(latents.new_zeros(batch, 1, width), none)
    inputs = FLUX.inputs(transformer, x, empty, timesteps, 0.0)
    tokens = inputs["hidden_states"].shape[1]
    image, _ = record_streams(transformer, attentions, inputs, image_tokens=tokens, text_first=True, last_layer=last)
    asked = FLUX.text_inputs(transformer, TextTokens(concepts, none), concepts=True)
    layout = Layout(concepts.shape[1], text_first=True)
    concept = ask_streams(transformer, attentions, FLUX.concept_inputs(transformer, inputs) | asked, image, layout)
    joined = {
        i: (concept[i].output.transpose(1, 2).flatten(2), image[i].output.transpose(1, 2).flatten(2))
        for i in LAYER_WEIGHTS
    }
    return {i: (c @ x.transpose(1, 2)).float() for i, (c, x) in joined.items()}


def map_loss(scores: torch.Tensor, true: torch.Tensor, best: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Candidate and presence loss of one layer.

    scores [B, C, N]; true [B, C, N] bool: the words that the caption of this token's image holds; best [C] int:
    over how many tokens a present word must be seen (objects are smaller than stuff).
    """
    logp = scores.log_softmax(dim=1)
    candidate = -logp.masked_fill(~true, -torch.inf).logsumexp(dim=1).mean()
    present = true.any(dim=2)
    shares = (logp.exp() * true).sort(dim=2, descending=True).values
    ranks = torch.arange(shares.shape[2])
    inside = (ranks[None] < best[:, None]).float()
    mean = (shares * inside).sum(dim=2) / best
    presence = -mean.clamp_min(1e-6).log()[present].mean()
    return candidate, presence


def weighted(losses: Sequence[tuple[float, torch.Tensor]]) -> torch.Tensor:
    return sum(weight * loss for weight, loss in losses) / sum(weight for weight, _ in losses)
