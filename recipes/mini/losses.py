"""The losses of the shipped backbones: flow matching and, for `mini`, a loss on its maps that uses captions only.

The map loss asks the recording of an image for a list of words. The caption says which of the words are in the image.
Masks are not used.

    p[word, token] = softmax over the words of <concept output, image output>     (the map itself)

    candidate   -log of the summed p of the caption's words, mean over tokens     suppresses absent words everywhere
    presence    -log of the mean of a caption word's k highest p                  each present word wins some tokens
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.families.flux import Flux, pack
from ca_seg.concept.ask import Layout, ask_streams
from ca_seg.concept.grid import Grid
from ca_seg.concept.record import record_streams

FLUX = Flux()
LAYER_WEIGHTS = {1: 0.25, 2: 0.5, 3: 1.0}


def noised(latents: torch.Tensor, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x_t = (1 - t) x_0 + t e and the velocity e - x_0 (flow matching, as FLUX.1)."""
    noise = torch.randn_like(latents)
    t = timesteps[:, None, None, None]
    return (1 - t) * latents + t * noise, noise - latents


def token_grid(latents: torch.Tensor) -> Grid:
    """The grid of the tokens into which latents [B, C, h, w] are packed."""
    return Grid(latents.shape[-2] // 2, latents.shape[-1] // 2)


def flow_loss(transformer: nn.Module, latents: torch.Tensor, text: TextTokens) -> torch.Tensor:
    """Mean squared error of the velocity; timesteps logit-normal, as in SD3 (Esser et al. 2024, section 3.1)."""
    timesteps = torch.randn(len(latents)).sigmoid()
    x, velocity = noised(latents, timesteps)
    predicted = transformer(**FLUX.inputs(transformer, x, text, timesteps, 0.0)).sample
    return (predicted.float() - pack(velocity)).square().mean()


def layer_scores(
    transformer: nn.Module, latents: torch.Tensor, concepts: torch.Tensor, timesteps: torch.Tensor
) -> dict[int, torch.Tensor]:
    """Scores [B, C, N] before the softmax, per layer of LAYER_WEIGHTS, in output space, with an empty prompt.

    Args:
        transformer: a FLUX.1 transformer
        latents: [B, C, h, w]
        concepts: vectors of the words [B, C, 384]
        timesteps: [B], 0 (clean) to 1 (noise)
    """
    x, _ = noised(latents, timesteps)
    batch, width = len(latents), concepts.shape[-1]
    attentions, last = FLUX.attentions(transformer), max(LAYER_WEIGHTS)
    no_pooled = latents.new_zeros(batch, width)
    empty_prompt = TextTokens(latents.new_zeros(batch, 1, width), no_pooled)
    inputs = FLUX.inputs(transformer, x, empty_prompt, timesteps, 0.0)
    tokens = inputs["hidden_states"].shape[1]
    image, _ = record_streams(transformer, attentions, inputs, image_tokens=tokens, text_first=True, last_layer=last)
    text = FLUX.text_inputs(transformer, TextTokens(concepts, no_pooled), concepts=True)
    layout = Layout(concepts.shape[1], text_first=True)
    concept = ask_streams(transformer, attentions, FLUX.concept_inputs(transformer, inputs) | text, image, layout)
    outputs = {
        i: (concept[i].output.transpose(1, 2).flatten(2), image[i].output.transpose(1, 2).flatten(2))
        for i in LAYER_WEIGHTS
    }
    return {i: (c @ x.transpose(1, 2)).float() for i, (c, x) in outputs.items()}


def map_loss(scores: torch.Tensor, true: torch.Tensor, best: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Candidate and presence loss of one layer.

    Args:
        scores: [B, C, N], before the softmax
        true: [B, C, N] bool; the word is in the caption of this token's image
        best: [C] int; the k of the presence loss, in tokens (smaller for objects than for stuff)
    """
    logp = scores.log_softmax(dim=1)
    known = true.any(dim=1)  # a token may lie outside of all boxes
    candidate = -logp.masked_fill(~true, -torch.inf).logsumexp(dim=1)
    candidate = candidate.masked_fill(~known, 0).sum() / known.sum().clamp_min(1)
    present = true.any(dim=2)
    probabilities = (logp.exp() * true).sort(dim=2, descending=True).values
    ranks = torch.arange(probabilities.shape[2])
    inside = (ranks[None] < best[:, None]).float()
    mean = (probabilities * inside).sum(dim=2) / best
    presence = -mean.clamp_min(1e-6).log()[present].mean()
    return candidate, presence


def weighted(losses: Sequence[tuple[float, torch.Tensor]]) -> torch.Tensor:
    """The weighted mean of (weight, loss) pairs."""
    return sum(weight * loss for weight, loss in losses) / sum(weight for weight, _ in losses)
