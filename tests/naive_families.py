"""Two slow reference implementations of the method, for any family. They share no code with record and ask.

`one_masked_pass` is the paper's figure: one pass of the stock model over [prompt, concepts, image] with a mask that
says which tokens attend to which. It needs text without an order of its own, because the concepts get the positions
after those of the prompt.

`two_passes` holds for every family: the stock model is run on the prompt and every block's image input is recorded;
then it is run on the concepts with the whole image, whose input to every block is replaced by the recorded one.

In both, the concepts use the prompt's pooled vector. Mochi pools inside, and calls its attention once for each row:
`row_by_row` runs either loop with one row at a time, with the vector of the prompt alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.families.base import Family, TextTokens

SDPA = torch.nn.functional.scaled_dot_product_attention


def plain_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, scale: float | None):
    """softmax(q k / sqrt(d)) v with a mask [..., queries, keys], True where a key may be attended to."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    logits = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
    weights = logits.softmax(dim=-1)
    return weights.masked_fill(logits.isneginf().all(dim=-1, keepdim=True), 0.0) @ v  # to nothing: zeros, as in torch


class RecordedAttention:
    """Replaces the attention kernel by `attend` and records the calls inside the joint attentions, in order."""

    def __init__(self, family: Family, model: nn.Module, attend: Any) -> None:
        self.modules, self.attend = family.attentions(model), attend
        self.calls: list[tuple[torch.Tensor, ...]] = []
        self.inside = False

    def __enter__(self) -> RecordedAttention:
        def enter(*_: Any) -> None:
            self.inside = True

        def leave(*_: Any) -> None:
            self.inside = False

        self.hooks = [m.register_forward_pre_hook(enter) for m in self.modules]
        self.hooks += [m.register_forward_hook(leave) for m in self.modules]
        torch.nn.functional.scaled_dot_product_attention = self._kernel
        return self

    def __exit__(self, *_: Any) -> None:
        torch.nn.functional.scaled_dot_product_attention = SDPA
        for hook in self.hooks:
            hook.remove()

    def _kernel(self, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
        assert not is_causal
        if not self.inside:
            return plain_attention(query, key, value, attn_mask, scale)
        output = self.attend(query, key, value, attn_mask, scale)
        heads = query.shape[1]
        key, value = (x.repeat_interleave(heads // x.shape[1], dim=1) for x in (key, value))
        self.calls.append((query, key, value, output))
        return output


def _cut(calls: list[tuple[torch.Tensor, ...]], rows: slice) -> list[dict[str, torch.Tensor]]:
    names = ("query", "key", "value", "output")
    return [dict(zip(names, (x[:, :, rows] for x in call), strict=True)) for call in calls]


@torch.no_grad()
def one_masked_pass(
    family: Family, model: nn.Module, image: dict[str, Any], prompt: TextTokens, concepts: TextTokens, tokens: int
) -> tuple[list, list]:
    """Image and concept streams, layer by layer, from one masked pass; `image` are the call's image arguments."""
    first, second = (family.text_inputs(model, text, concepts=c) for text, c in ((prompt, False), (concepts, True)))
    text = {}
    for name, value in first.items():
        is_mask = name.endswith("mask")  # [B, T]
        per_token = is_mask or (
            isinstance(value, torch.Tensor) and value.ndim >= 2 and value.shape[-2:-1] == (prompt.hidden.shape[1],)
        )
        text[name] = torch.cat([value, second[name]], dim=-1 if is_mask else -2) if per_token else value
    p, c, registers = prompt.hidden.shape[1], concepts.hidden.shape[1], family.registers(model)
    order = ["text"] * (registers + p) + ["concept"] * c
    order = order + ["image"] * tokens if family.text_first else ["image"] * tokens + order
    attends_to = {"text": ("text", "image"), "concept": ("concept", "image"), "image": ("text", "image")}
    mask = torch.tensor([[k in attends_to[q] for k in order] for q in order])

    with RecordedAttention(family, model, lambda q, k, v, m, s: plain_attention(q, k, v, mask, s)) as recorded:
        model(**family.joined(image, text))
    start = order.index("concept")
    image_start = order.index("image")
    return _cut(recorded.calls, slice(image_start, image_start + tokens)), _cut(recorded.calls, slice(start, start + c))


@torch.no_grad()
def two_passes(
    family: Family, model: nn.Module, image: dict[str, Any], prompt: TextTokens, concepts: TextTokens, tokens: int
) -> tuple[list, list]:
    """Image and concept streams, layer by layer, from two whole passes."""
    whole: list[dict[str, torch.Tensor]] = []
    with RecordedAttention(family, model, plain_attention) as recorded:
        model(**family.joined(image, family.text_inputs(model, prompt, concepts=False)))
    rows = slice(-tokens, None) if family.text_first else slice(0, tokens)
    whole = _cut(recorded.calls, rows)
    number = iter(range(len(whole)))

    def with_recorded_image(q, k, v, m, s):
        image_call = whole[next(number)]
        q, k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1).clone() for x in (q, k, v))
        k[:, :, rows], v[:, :, rows] = image_call["key"], image_call["value"]
        registers = family.registers(model)
        output = plain_attention(q, k, v, None, s)
        if registers:
            output[:, :, registers:] = plain_attention(
                q[:, :, registers:], k[:, :, registers:], v[:, :, registers:], None, s
            )
        return output

    grid = family.grid(model, image)
    with family.asking(model, grid), RecordedAttention(family, model, with_recorded_image) as recorded:
        try:
            model(**family.joined(image, family.text_inputs(model, concepts, concepts=True)))
        except RuntimeError:
            if len(recorded.calls) < len(whole):
                raise
    c, registers = concepts.hidden.shape[1], family.registers(model)
    concept_rows = slice(registers, registers + c) if family.text_first else slice(tokens, tokens + c)
    return whole, _cut(recorded.calls, concept_rows)


@contextmanager
def _pooled_of_the_prompt(model: Any, prompt: TextTokens) -> Iterator[None]:
    """The model's own pooled text is that of the prompt in every pass."""
    vector = model.time_embed.pooler(prompt.hidden, prompt.mask_or_ones(torch.bool))
    hook = model.time_embed.pooler.register_forward_hook(lambda *_: vector)
    try:
        yield
    finally:
        hook.remove()


@torch.no_grad()
def row_by_row(naive: Callable[..., tuple[list, list]]) -> Callable[..., tuple[list, list]]:
    """A naive loop that runs each row of the batch alone."""

    def run(family, model, image, prompt, concepts, tokens):
        sides: tuple[list, list] = ([], [])
        for row in range(len(prompt.hidden)):
            one, words = (text.each(lambda x, row=row: x[row : row + 1]) for text in (prompt, concepts))
            with _pooled_of_the_prompt(model, one):
                inputs = {name: value[row : row + 1] for name, value in image.items()}
                for side, layers in zip(sides, naive(family, model, inputs, one, words, tokens), strict=True):
                    side.append(layers)
        return tuple(
            [{part: torch.cat([layer[part] for layer in rows]) for part in rows[0]} for rows in zip(*side, strict=True)]
            for side in sides
        )

    return run
