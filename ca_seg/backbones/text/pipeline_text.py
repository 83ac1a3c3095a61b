"""The text encoders of a stock pipeline: run once per vocabulary, then freed. Their embeddings are stored.

phrases ──► in memory? ──► on disk? ──► load the encoders, encode all new phrases, free them
                                                │
                   the word tokens [t, d] of a concept are stored, and pooled to one when they are asked for
"""

from __future__ import annotations

import gc
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ca_seg.atomic import atomic_write
from ca_seg.backbones.families.base import EncodedText, Family, TextTokens
from ca_seg.backbones.text.encoder import pool_tokens
from ca_seg.backbones.text.phrase_tokens import phrase_tokens
from ca_seg.errors import UserError

MAX_PROMPTS = 8  # in memory; a prompt is [length, 4096], and a run has one, or one per image
MAX_CONCEPTS = 4096  # phrases in memory; one is a few tokens [t, 4096]
CONCEPT, PROMPT = "concept", "prompt"


class PipelineText:
    """Prompts and concepts through `family.encode_text`, as the stock pipeline encodes them.

    Args:
        family: encodes the texts
        load: gives the pipeline (without its transformer) when something new must be encoded. It is freed right after,
            so that the encoders and the transformer need not fit into memory together
        length: texts are padded to so many tokens
        cache: a folder for the embeddings of concepts and of the empty prompt, or None
        room: a context that makes room for the encoders while they are loaded
    """

    def __init__(
        self,
        family: Family,
        load: Callable[[], Any],
        length: int,
        *,
        cache: Path | None = None,
        room: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.family, self.length, self.cache, self.room = family, length, cache, room
        self._load = load
        self._prompts: OrderedDict[str, EncodedText] = OrderedDict()
        self._concepts: OrderedDict[str, EncodedText] = OrderedDict()

    def prompt(self, prompts: Sequence[str]) -> TextTokens:
        new = [p for p in dict.fromkeys(prompts) if p not in self._prompts]
        known = {p: stored for p in new if p == "" and (stored := self._cached(PROMPT, p)) is not None}
        known |= self._encoded([p for p in new if p not in known])
        if "" in new:
            self._store(PROMPT, "", known[""])
        rows = [known.get(p) or self._prompts[p] for p in prompts]
        self._prompts.update(known)
        while len(self._prompts) > MAX_PROMPTS:
            self._prompts.popitem(last=False)
        return _batch(rows)

    def phrase_tokens(self, prompt: str, phrases: Sequence[str]) -> dict[str, tuple[int, ...]]:
        counts = [len(text.hidden) for text in self._words(phrases)]
        self.prompt([prompt])
        words = self._prompts[prompt].is_word.nonzero()[:, 0].tolist()
        return phrase_tokens(prompt, phrases, counts, words)

    def concepts(self, phrases: Sequence[str], pooling: str) -> TextTokens:
        encoded = self._words(phrases)
        rows = [pool_tokens(text.hidden[None], text.is_word[None], pooling)[0] for text in encoded]
        pooled = encoded[0].pooled
        return TextTokens(torch.stack(rows)[None], None if pooled is None else torch.zeros_like(pooled)[None])

    def _words(self, phrases: Sequence[str]) -> list[EncodedText]:
        """The word tokens of each phrase."""
        for phrase in dict.fromkeys(phrases):
            if phrase not in self._concepts and (stored := self._cached(CONCEPT, phrase)) is not None:
                self._concepts[phrase] = stored
        for phrase, text in self._encoded([p for p in dict.fromkeys(phrases) if p not in self._concepts]).items():
            words = replace(text, hidden=text.hidden[text.is_word], is_word=text.is_word[text.is_word], mask=None)
            self._concepts[phrase] = words
            self._store(CONCEPT, phrase, words)
        encoded = [self._concepts[phrase] for phrase in phrases]
        for phrase in phrases:
            self._concepts.move_to_end(phrase)
        while len(self._concepts) > MAX_CONCEPTS:  # those that were not asked for longest
            self._concepts.popitem(last=False)
        return encoded

    def _encoded(self, texts: Sequence[str]) -> dict[str, EncodedText]:
        """New texts, encoded on the device of the pipeline, in main memory."""
        if not texts:
            return {}
        with self.room(), torch.no_grad():
            pipeline = self._load()
            encoded = [_on_cpu(self.family.encode_text(pipeline, [text], self.length)[0]) for text in texts]
            del pipeline
            gc.collect()
        return dict(zip(texts, encoded, strict=True))

    def _file(self, kind: str, text: str) -> Path | None:
        if self.cache is None:
            return None
        return self.cache / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"

    def _cached(self, kind: str, text: str) -> EncodedText | None:
        """What is stored on disk; None also for a file that cannot be read, because the text is encoded again."""
        file = self._file(kind, text)
        if file is None or not file.exists():
            return None
        try:
            parts = load_file(file)
            return EncodedText(parts["hidden"], parts["own"], parts.get("pooled"), parts.get("mask"))
        except (SafetensorError, OSError, KeyError):
            return None

    def _store(self, kind: str, text: str, encoded: EncodedText) -> None:
        file = self._file(kind, text)
        if file is None or file.exists():
            return
        parts = {"hidden": encoded.hidden, "own": encoded.is_word, "pooled": encoded.pooled, "mask": encoded.mask}
        try:
            with atomic_write(file) as part:
                save_file({name: x.contiguous() for name, x in parts.items() if x is not None}, part)
        except (UserError, SafetensorError):
            self.cache = None  # without a cache the run is slower, but it need not fail


def _on_cpu(encoded: EncodedText) -> EncodedText:
    parts = (encoded.hidden, encoded.is_word, encoded.pooled, encoded.mask)
    return EncodedText(*(None if part is None else part.detach().cpu() for part in parts))  # type: ignore[arg-type]


def _batch(rows: Sequence[EncodedText]) -> TextTokens:
    """Prompts in one batch; shorter ones are padded with zeros, where the mask is False."""
    longest = max(len(row.hidden) for row in rows)
    padded = any(len(row.hidden) < longest for row in rows)
    hidden = torch.stack([_pad(row.hidden, longest) for row in rows])
    masks = [torch.ones(len(row.hidden), dtype=torch.bool) if row.mask is None else row.mask.bool() for row in rows]
    masked = padded or any(row.mask is not None for row in rows)
    mask = torch.stack([_pad(row, longest) for row in masks]) if masked else None
    pooled = None if rows[0].pooled is None else torch.stack([row.pooled for row in rows])  # type: ignore[misc]
    return TextTokens(hidden, pooled, mask)


def _pad(x: torch.Tensor, length: int) -> torch.Tensor:
    return torch.cat([x, x.new_zeros(length - len(x), *x.shape[1:])])
