"""Layer-wise relevance propagation through a stock timm VisionTransformer, from a class back to the image.

The network runs once with hooks; the rules then go from module to module in the opposite direction:

    class ──head──► pooled token ──► tokens ──block L──► ... ──block 1──► tokens ──position, patches──► pixels
                                                │
              x ───────────────┬────────────────+──── y        in a block, twice: attention, then MLP
                └─norm, branch─┘                               relevance of y is divided between x and the branch
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ca_seg.errors import UserError
from ca_seg.methods.vit.network import Trace, VisionNetwork
from ca_seg.methods.vit.rules import balanced_sum_rule, linear_rule, pixel_rule, product_rule, sum_rule

POOLS = ("token", "avg")


@dataclass(frozen=True)
class Rules:
    """Which rules are used where there is a choice.

    Args:
        conserving: of linear layers, see `linear_rule`
        balanced: of residual connections, see `balanced_sum_rule`
    """

    conserving: bool = True
    balanced: bool = True


@dataclass
class Propagated:
    """Relevance at each place of the network.

    Args:
        tokens: [B, N, D] at the input of the first block
        attention: [B, heads, N, N] of each block, the first block first
        tokens_after: [B, N, D] at the output of each block, the first block first
    """

    tokens: Tensor
    attention: list[Tensor] = field(default_factory=list)
    tokens_after: list[Tensor] = field(default_factory=list)


def check_propagation(network: VisionNetwork) -> None:
    """Raises UserError for a network with parts that the rules do not cover."""
    from timm.layers import Attention, Mlp  # here, so that cards are listed without timm
    from timm.models.vision_transformer import Block

    model = network.model
    problems = [
        *(f"a {type(block).__name__}" for block in network.blocks if type(block) is not Block),
        *(f"a {type(b.attn).__name__}" for b in network.blocks if type(b.attn) is not Attention),
        *("a gated attention" for b in network.blocks if getattr(b.attn, "gate", None) is not None),
        *(f"an MLP of type {type(b.mlp).__name__}" for b in network.blocks if type(b.mlp) is not Mlp),
    ]
    if model.global_pool not in POOLS or getattr(model, "attn_pool", None) is not None:
        problems.append(f"the pooling {model.global_pool!r}")
    if not isinstance(model.head, nn.Linear):
        problems.append(f"a head of type {type(model.head).__name__}")
    if problems:
        raise UserError(
            f"{network.method} has no rule for {problems[0]}",
            allowed="a timm VisionTransformer of stock blocks, attention and MLP, with a linear head on its class "
            "token or mean",
        )


def recorded_modules(network: VisionNetwork) -> list[nn.Module]:
    """The modules whose inputs and outputs `propagate` needs."""
    model, modules = network.model, []
    for block in network.blocks:
        attn, mlp = block.attn, block.mlp
        modules += [block, block.ls1, block.norm2, block.ls2, attn.qkv, attn.q_norm, attn.k_norm, attn.proj]
        modules += [mlp.fc1, mlp.fc2]
    return [*modules, model.norm, model.fc_norm, model.head, model.patch_embed, model.pos_drop, model.patch_embed.proj]


@torch.no_grad()
def propagate(trace: Trace, targets: Tensor, rules: Rules, *, last: int = 0) -> Propagated:
    """Relevance of the classes `targets` [B], which is 1 at their logits.

    Args:
        trace: of a run with `recorded_modules`
        targets: one class for each image
        rules: where there is a choice
        last: the block to stop at; earlier ones get none
    """
    model, recorded = trace.network.model, trace.recorded
    relevance = one_hot(targets, trace.logits.shape[-1]).to(trace.logits)
    relevance = linear_rule(relevance, _inputs(recorded, model.head), model.head.weight, conserving=rules.conserving)
    relevance = _pooled(relevance, trace)
    result = Propagated(relevance)
    for index in range(len(trace.attention) - 1, last - 1, -1):
        result.tokens_after.insert(0, relevance)
        relevance, attention = _through_block(relevance, trace, index, rules)
        result.attention.insert(0, attention)
    result.tokens = relevance
    return result


@torch.no_grad()
def to_pixels(tokens: Tensor, trace: Trace) -> Tensor:
    """Relevance of tokens [B, N, D] at the first block, to pixels [B, 3, H, W]; position embeddings keep their part."""
    model, recorded = trace.network.model, trace.recorded
    patches = recorded[model.patch_embed][1].detach()
    patches = patches.reshape(len(patches), -1, patches.shape[-1])
    positioned = _inputs(recorded, model.pos_drop)[:, trace.network.prefix :]
    relevance, _ = sum_rule(tokens[:, trace.network.prefix :], patches, positioned - patches)
    grid = relevance.mT.reshape(len(relevance), -1, *trace.grid)
    return pixel_rule(grid, trace.pixels.detach(), model.patch_embed.proj)


def _pooled(relevance: Tensor, trace: Trace) -> Tensor:
    """Relevance [B, D] of the pooled token, to the tokens [B, N, D]."""
    model = trace.network.model
    tokens = trace.recorded[model.norm][1].detach()
    result = torch.zeros_like(tokens)
    if model.global_pool == "token":
        result[:, 0] = relevance
        return result
    start = 0 if model.pool_include_prefix else trace.network.prefix
    chosen = tokens[:, start:]
    total = chosen.sum(dim=1, keepdim=True)
    result[:, start:] = _shares(relevance[:, None], chosen, total)
    return result


def _shares(relevance: Tensor, terms: Tensor, total: Tensor) -> Tensor:
    return sum_rule(relevance.expand_as(terms), terms, total - terms)[0]


def _through_block(relevance: Tensor, trace: Trace, index: int, rules: Rules) -> tuple[Tensor, Tensor]:
    """Relevance [B, N, D] of a block's output, to its input and to its attention."""
    block, recorded = trace.network.blocks[index], trace.recorded
    divide = balanced_sum_rule if rules.balanced else sum_rule
    middle = _inputs(recorded, block.norm2)
    kept, branch = divide(relevance, middle, recorded[block.ls2][1].detach())
    for layer in (block.mlp.fc2, block.mlp.fc1):
        branch = linear_rule(branch, _inputs(recorded, layer), layer.weight, conserving=rules.conserving)
    relevance = kept + branch
    kept, branch = divide(relevance, _inputs(recorded, block), recorded[block.ls1][1].detach())
    branch, attention = _through_attention(branch, trace, index, rules)
    return kept + branch, attention


def _through_attention(relevance: Tensor, trace: Trace, index: int, rules: Rules) -> tuple[Tensor, Tensor]:
    """Relevance [B, N, D] of the attention's output, to its input and to the softmaxed attention [B, heads, N, N]."""
    attn: Any = trace.network.blocks[index].attn
    recorded = trace.recorded
    relevance = linear_rule(relevance, _inputs(recorded, attn.proj), attn.proj.weight, conserving=rules.conserving)
    batch, count, _ = relevance.shape
    heads = relevance.reshape(batch, count, attn.num_heads, attn.head_dim).transpose(1, 2)
    qkv = recorded[attn.qkv][1].detach().reshape(batch, count, 3, attn.num_heads, attn.head_dim).permute(2, 0, 3, 1, 4)
    attention, values = product_rule(heads, trace.attention[index].detach(), qkv[2])
    queries, keys = (recorded[norm][1].detach() for norm in (attn.q_norm, attn.k_norm))
    of_queries, of_keys = product_rule(attention, queries, keys.mT)
    together: Sequence[Tensor] = (of_queries, of_keys.mT, values)
    flat = torch.stack(tuple(together)).permute(1, 3, 0, 2, 4).reshape(batch, count, -1)
    inputs = _inputs(recorded, attn.qkv)
    return linear_rule(flat, inputs, attn.qkv.weight, conserving=rules.conserving), attention


def _inputs(recorded: dict[nn.Module, tuple[Tensor, Tensor]], module: nn.Module) -> Tensor:
    return recorded[module][0].detach()
