"""FLUX.1's text side: T5 tokens, and CLIP's pooled vector for whole prompts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import CLIPTextModel, PreTrainedTokenizerBase, T5EncoderModel

from ca_seg.backbones.family import TextTokens
from ca_seg.backbones.text import pool_tokens
from ca_seg.errors import UserError


class T5ClipText:
    """As the stock pipeline encodes: padded to `length` tokens, without an attention mask.

    Encodings are kept, so a vocabulary is encoded once.
    """

    def __init__(
        self,
        t5: T5EncoderModel,
        t5_tokenizer: PreTrainedTokenizerBase,
        clip: CLIPTextModel,
        clip_tokenizer: PreTrainedTokenizerBase,
        length: int,
    ) -> None:
        self.t5, self.t5_tokenizer, self.clip, self.clip_tokenizer, self.length = (
            t5,
            t5_tokenizer,
            clip,
            clip_tokenizer,
            length,
        )
        self._kept: dict[str, tuple[torch.Tensor, int]] = {}

    def prompt(self, prompts: Sequence[str]) -> TextTokens:
        hidden = torch.stack([self._encode(prompt)[0] for prompt in prompts])
        tokens = self.clip_tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.clip_tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        with torch.no_grad():
            pooled = self.clip(tokens.input_ids.to(self.clip.device)).pooler_output
        return TextTokens(hidden, pooled)

    def concepts(self, phrases: Sequence[str], pooling: str) -> TextTokens:
        rows = []
        for phrase in phrases:
            hidden, length = self._encode(phrase)
            mask = torch.arange(len(hidden), device=hidden.device)[None] < length
            rows.append(pool_tokens(hidden[None], mask, pooling)[0])
        width = self.clip.config.hidden_size
        return TextTokens(torch.stack(rows)[None], torch.zeros(1, width, device=rows[0].device))

    @torch.no_grad()
    def _encode(self, phrase: str) -> tuple[torch.Tensor, int]:
        """T5 tokens [length, d], and how many of them are the phrase's own (without the end token)."""
        if phrase not in self._kept:
            whole = self.t5_tokenizer(phrase).input_ids
            if len(whole) > self.length:
                raise UserError(
                    f"the text {phrase[:40]!r}... has {len(whole)} tokens",
                    allowed=f"at most {self.length}",
                    fix="shorten it",
                )
            tokens = self.t5_tokenizer(phrase, padding="max_length", max_length=self.length, return_tensors="pt")
            hidden = self.t5(tokens.input_ids.to(self.t5.device)).last_hidden_state[0]
            self._kept[phrase] = (hidden, max(1, len(whole) - 1))
        return self._kept[phrase]
