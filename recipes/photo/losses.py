"""The losses of the backbones for photographs, on the maps of the words and on the velocity.

p[word, token] = softmax over the words of <concept output, image output>     (the map itself)

soft     Kullback-Leibler divergence of p, enlarged twice as a map is for an image, from a teacher's shares
words    candidate and presence loss of recipes/mini; a word that may be true of a picture is not asked of it
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import interpolate, kl_div

from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.families.flux import Flux, positions
from ca_seg.concept.ask import Layout, ask_streams
from ca_seg.concept.record import record_streams
from recipes.mini.losses import map_loss, noised, weighted
from recipes.photo.batches import Hard, Soft
from recipes.photo.layout import unquilt
from recipes.photo.model import LAYER_WEIGHTS

FLUX = Flux()
NOT_ASKED = -1e4
LEAST = 1e-6  # probability that a word has where a teacher sees it
PROMPT_WORDS = 6


def image_inputs(latents: torch.Tensor, timesteps: torch.Tensor, prompt: TextTokens | None = None) -> dict:
    """The transformer's arguments for a grid of tokens [B, 432, h, w] (FLUX's own packing is undone by the codec)."""
    tokens = latents.flatten(2).transpose(1, 2)
    empty = tokens.new_zeros(len(tokens), 1, 384)
    text = TextTokens(empty, empty[:, 0]) if prompt is None else prompt
    return {
        "hidden_states": tokens,
        "img_ids": positions(*latents.shape[-2:], tokens),
        "timestep": timesteps.to(tokens),
        "guidance": None,
        "encoder_hidden_states": text.hidden,
        "pooled_projections": text.pooled,
        "txt_ids": tokens.new_zeros(text.hidden.shape[1], 3),
    }


def layer_scores(
    transformer: nn.Module, latents: torch.Tensor, concepts: torch.Tensor, timesteps: torch.Tensor
) -> dict[int, torch.Tensor]:
    """Scores [B, C, N] before the softmax per layer, with an empty prompt, for concepts [C, 384]."""
    x, _ = noised(latents, timesteps)
    inputs, attentions, last = image_inputs(x, timesteps), FLUX.attentions(transformer), max(LAYER_WEIGHTS)
    tokens = inputs["hidden_states"].shape[1]
    image, _ = record_streams(transformer, attentions, inputs, image_tokens=tokens, text_first=True, last_layer=last)
    text = TextTokens(concepts[None].expand(len(x), -1, -1), inputs["pooled_projections"])
    call = FLUX.concept_inputs(transformer, inputs) | FLUX.text_inputs(transformer, text, concepts=True)
    concept = ask_streams(transformer, attentions, call, image, Layout(len(concepts), text_first=True))
    outputs = {
        i: (concept[i].output.transpose(1, 2).flatten(2), image[i].output.transpose(1, 2).flatten(2))
        for i in LAYER_WEIGHTS
    }
    return {i: (c @ o.transpose(1, 2)).float() for i, (c, o) in outputs.items()}


def prompt_of(target: Soft | Hard, table: torch.Tensor, rows: int) -> TextTokens:
    """The words that are true of each row, as its prompt; one row in ten has an empty prompt.

    Args:
        target: of the step
        table: the vectors of its words [C, 384]
        rows: size of the batch B
    """
    if isinstance(target, Hard):
        amount = target.true.float().mean(dim=2)
    else:
        amount = target.shares.mean(dim=(2, 3)).unflatten(0, (rows, -1)).mean(dim=1)
    most = amount.topk(PROMPT_WORDS, dim=1)
    kept = (most.values > 0.03) & (torch.rand(len(amount), 1, device=amount.device) >= 0.1)
    hidden = table[most.indices] * kept[..., None]
    return TextTokens(hidden, hidden.sum(dim=1) / kept.sum(dim=1, keepdim=True).clamp_min(1))


def flow_loss(transformer: nn.Module, latents: torch.Tensor, prompt: TextTokens) -> torch.Tensor:
    """Mean squared error of the velocity; timesteps logit-normal (Esser et al. 2024, section 3.1)."""
    timesteps = torch.randn(len(latents), device=latents.device).sigmoid()
    x, velocity = noised(latents, timesteps)
    predicted = transformer(**image_inputs(x, timesteps, prompt)).sample
    return (predicted.float() - velocity.flatten(2).transpose(1, 2)).square().mean()


def soft_loss(scores: torch.Tensor, target: Soft) -> torch.Tensor:
    """A weighted mean of the divergence over the cells.

    Args:
        scores: of the step's grid [B, C, h, w], before the softmax
        target: of its pictures
    """
    shares = target.shares
    maps = unquilt(scores.softmax(dim=1), len(shares))
    maps = interpolate(maps, size=shares.shape[-2:], mode="bilinear", align_corners=False)
    divergence = kl_div(maps.clamp_min(LEAST).log(), shares, reduction="none").sum(dim=1)
    return (divergence * target.weight).sum() / target.weight.sum().clamp_min(1e-6)


def map_losses(scores: dict[int, torch.Tensor], target: Soft | Hard, grid: torch.Size) -> torch.Tensor:
    """The loss of a step's maps [B, C, N], weighted over the layers; `grid` is their height and width in tokens."""
    if isinstance(target, Soft):
        return weighted([(LAYER_WEIGHTS[i], soft_loss(s.unflatten(2, grid), target)) for i, s in scores.items()])
    masked = {i: s.masked_fill(target.unasked, NOT_ASKED) for i, s in scores.items()}
    return weighted([(LAYER_WEIGHTS[i], sum(map_loss(s, target.true, target.best))) for i, s in masked.items()])
