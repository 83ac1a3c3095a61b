"""Maps during generation: the stock pipeline runs, and every step's cross-attention to the prompt is read.

    with CrossAttentionTrace(reader, prompt, words) as trace:
        pipeline(prompt)             every forward pass unchanged
    trace.maps()                     mean over steps and the heads of all layers

With guidance a pipeline also runs its denoiser on a negative prompt. Where both run in one batch its half is left out;
where they run in separate calls, every call whose text differs from that of the first call.
"""

from __future__ import annotations

from typing import Any

import torch

from ca_seg.cross_attention.maps import PhraseTokens, merged
from ca_seg.cross_attention.reader import CrossAttentionReader
from ca_seg.cross_attention.record import CrossAttentionTap
from ca_seg.cross_attention.stock_call import named_arguments
from ca_seg.cross_attention.words import contains
from ca_seg.errors import UserError
from ca_seg.vocabulary import Words, as_vocabulary


class CrossAttentionTrace:
    """Diffusion attentive attribution maps of a generation (Tang et al. 2023, What the DAAM, section 3.1).

    Args:
        reader: of the pipeline that generates
        prompt: that it will be given; another one is noticed, unless the text was encoded beforehand
        words: a word, a list of words, a dict of class to phrases, or a Vocabulary; each must stand in the prompt
        images: how many are generated at once, from this prompt

    Raises:
        UserError: for a word that is not in the prompt, or a prompt that is too long

    Example:
        >>> with CrossAttentionTrace(CrossAttentionReader(pipeline), "a cat on grass", ["cat", "grass"]) as trace:
        ...     pipeline("a cat on grass")
        >>> trace.maps()  # [1, 2, 64, 64]
    """

    def __init__(self, reader: CrossAttentionReader, prompt: str, words: Words, *, images: int = 1) -> None:
        self.reader, self.vocabulary, self.images = reader, as_vocabulary(words), images
        self.tokens = reader.family.tokens(reader.pipeline, prompt)
        self.phrases = PhraseTokens.of(self.tokens, self.vocabulary.concepts)
        self.steps = 0
        self._encoded: list[list[int]] = []
        self._sums: dict[str, torch.Tensor] = {}
        self._text: torch.Tensor | None = None
        self._tap: CrossAttentionTap | None = None
        self._hooks: list[Any] = []

    def __enter__(self) -> CrossAttentionTrace:
        encoder = self.reader.pipeline.text_encoder
        self._hooks = [encoder.register_forward_pre_hook(self._encode, with_kwargs=True)]
        for denoiser in self.reader.family.denoisers(self.reader.pipeline):
            self._hooks += [
                denoiser.register_forward_pre_hook(self._before, with_kwargs=True),
                denoiser.register_forward_hook(self._after, always_call=True),
            ]
        return self

    def __exit__(self, *exc: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def maps(self, *, resizing: str = "bicubic") -> torch.Tensor:
        """[images, K, h, w] (frames before h for a video), the mean over the steps so far; `resizing`: see `merged`."""
        if not self.steps:
            raise UserError("nothing was generated inside the trace")
        if self._encoded and not any(contains(ids, self.tokens.ids[1:]) for ids in self._encoded):
            raise UserError("the pipeline was given another prompt than the trace", fix="give both the same")
        maps = self.phrases.pooled(merged((m / self.steps for m in self._sums.values()), resizing=resizing))
        return self.vocabulary.pool(maps, dim=1)

    def _encode(self, encoder: Any, args: Any, kwargs: dict[str, Any]) -> None:
        self._encoded += named_arguments(encoder, args, kwargs)["input_ids"].tolist()

    def _before(self, denoiser: Any, args: Any, kwargs: dict[str, Any]) -> None:
        call = named_arguments(denoiser, args, kwargs)
        text = call["encoder_hidden_states"]
        if self.reader.family.guides_only(call):
            return
        if self._text is None:
            self._text = text
        if text.shape != self._text.shape or not torch.equal(text, self._text):
            return
        self._tap = CrossAttentionTap(
            self.reader.modules(denoiser),
            lambda tokens: self.reader.family.grid(denoiser, call, tokens),
            attends=self.reader.family.attends(denoiser),
        )
        self._tap.__enter__()

    def _after(self, denoiser: Any, args: Any, output: Any) -> None:
        if self._tap is None:
            return
        tap, self._tap = self._tap, None
        tap.__exit__(None, None, None)
        if output is None:  # the pass ended with an exception
            return
        for layer in tap.layers():
            rows = len(layer.query)
            if rows not in (self.images, 2 * self.images):
                raise UserError(f"the pipeline runs {rows} rows at once", allowed=f"{self.images}, or twice as many")
            maps = layer.rows(slice(rows - self.images, None)).maps(self.phrases.tokens)
            self._sums[layer.name] = self._sums[layer.name] + maps if layer.name in self._sums else maps
        self.steps += 1
