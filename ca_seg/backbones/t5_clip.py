"""FLUX.1's text side: T5 tokens, and CLIP's pooled vector for whole prompts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from transformers import CLIPTextModel, PreTrainedTokenizerBase, T5EncoderModel

from ca_seg.backbones.family import TextTokens
from ca_seg.backbones.text import pool_tokens
from ca_seg.errors import UserError

KEPT_PROMPTS = 8  # a prompt is [length, 4096]; a run has one prompt, or one per picture


class T5ClipText:
    """As the stock pipeline encodes: padded to `length` tokens, without an attention mask.

    The encoders stay in main memory and visit `device` only while there is something new to encode, so that they and
    the transformer need not fit there together. A concept's row is kept for good, prompts only a few.
    """

    def __init__(
        self,
        t5: T5EncoderModel,
        t5_tokenizer: PreTrainedTokenizerBase,
        clip: CLIPTextModel,
        clip_tokenizer: PreTrainedTokenizerBase,
        length: int,
        device: str = "cpu",
    ) -> None:
        self.t5, self.t5_tokenizer, self.clip, self.clip_tokenizer = t5, t5_tokenizer, clip, clip_tokenizer
        self.length, self.device = length, device
        self._prompts: OrderedDict[str, tuple[torch.Tensor, torch.Tensor]] = OrderedDict()
        self._concepts: dict[tuple[str, str], torch.Tensor] = {}

    def prompt(self, prompts: Sequence[str]) -> TextTokens:
        new = [p for p in dict.fromkeys(prompts) if p not in self._prompts]
        encoded = dict(zip(new, zip(self._t5(new), self._clip(new), strict=True), strict=True))
        rows = [encoded.get(p) or self._prompts[p] for p in prompts]
        self._prompts.update(encoded)
        while len(self._prompts) > KEPT_PROMPTS:
            self._prompts.popitem(last=False)
        return TextTokens(torch.stack([hidden for hidden, _ in rows]), torch.stack([pooled for _, pooled in rows]))

    def concepts(self, phrases: Sequence[str], pooling: str) -> TextTokens:
        new = [p for p in dict.fromkeys(phrases) if (p, pooling) not in self._concepts]
        for phrase, hidden in zip(new, self._t5(new), strict=True):
            own = max(1, len(self.t5_tokenizer(phrase).input_ids) - 1)  # without the end token
            mask = torch.arange(len(hidden))[None] < own
            self._concepts[phrase, pooling] = pool_tokens(hidden[None], mask, pooling)[0]
        rows = torch.stack([self._concepts[phrase, pooling] for phrase in phrases])
        return TextTokens(rows[None], torch.zeros(1, self.clip.config.hidden_size))

    def _t5(self, texts: Sequence[str]) -> list[torch.Tensor]:
        """T5 tokens [length, d] of each text, on the CPU."""
        for text in texts:
            tokens = len(self.t5_tokenizer(text).input_ids)
            if tokens > self.length:
                raise UserError(
                    f"the text {text[:40]!r}... has {tokens} tokens", allowed=f"at most {self.length}", fix="shorten it"
                )
        padded = [
            self.t5_tokenizer(t, padding="max_length", max_length=self.length, return_tensors="pt") for t in texts
        ]
        if not texts:
            return []
        with _visiting(self.t5, self.device) as t5:
            return [t5(tokens.input_ids.to(self.device)).last_hidden_state[0].cpu() for tokens in padded]

    def _clip(self, texts: Sequence[str]) -> list[torch.Tensor]:
        """CLIP's pooled vector of each text, on the CPU."""
        if not texts:
            return []
        most = self.clip_tokenizer.model_max_length
        settings = {"padding": "max_length", "max_length": most, "truncation": True, "return_tensors": "pt"}
        with _visiting(self.clip, self.device) as clip:
            ids = [self.clip_tokenizer(text, **settings).input_ids for text in texts]
            return [clip(row.to(self.device)).pooler_output[0].cpu() for row in ids]


@contextmanager
def _visiting(model: nn.Module, device: str) -> Iterator[nn.Module]:
    try:
        with torch.no_grad():
            yield model.to(device)
    finally:
        model.to("cpu")
