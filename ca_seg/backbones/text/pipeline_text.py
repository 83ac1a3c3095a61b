"""The text side of a stock pipeline: its encoders run once per vocabulary, are freed, and what they said is kept.

phrases ──► in memory? ──► on disk? ──► load the encoders, encode all that is new, free them
                                                │
                   a concept's own tokens [t, d] are kept, and pooled to one when they are asked for
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
from ca_seg.errors import UserError

KEPT_PROMPTS = 8  # a prompt is [length, 4096]; a run has one prompt, or one per image
CONCEPT, PROMPT = "concept", "prompt"


class PipelineText:
    """Prompts and concepts through `family.encode_text`, as the stock pipeline encodes them.

    `load` gives the pipeline (without its transformer) when something new must be encoded; it is dropped right after,
    so that encoders and transformer need not fit into memory together, and `room` holds while it is there. `cache` is
    a folder for what concepts and the empty prompt became, or None.
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
        self._concepts: dict[str, EncodedText] = {}

    def prompt(self, prompts: Sequence[str]) -> TextTokens:
        new = [p for p in dict.fromkeys(prompts) if p not in self._prompts]
        known = {p: found for p in new if p == "" and (found := self._cached(PROMPT, p)) is not None}
        known |= self._encoded([p for p in new if p not in known])
        if "" in new:
            self._keep(PROMPT, "", known[""])
        rows = [known.get(p) or self._prompts[p] for p in prompts]
        self._prompts.update(known)
        while len(self._prompts) > KEPT_PROMPTS:
            self._prompts.popitem(last=False)
        return _batch(rows)

    def concepts(self, phrases: Sequence[str], pooling: str) -> TextTokens:
        for phrase in dict.fromkeys(phrases):
            if phrase not in self._concepts and (found := self._cached(CONCEPT, phrase)) is not None:
                self._concepts[phrase] = found
        for phrase, text in self._encoded([p for p in dict.fromkeys(phrases) if p not in self._concepts]).items():
            own = replace(text, hidden=text.hidden[text.own], own=text.own[text.own], mask=None)
            self._concepts[phrase] = own
            self._keep(CONCEPT, phrase, own)
        words = [self._concepts[phrase] for phrase in phrases]
        rows = [pool_tokens(word.hidden[None], word.own[None], pooling)[0] for word in words]
        pooled = words[0].pooled
        return TextTokens(torch.stack(rows)[None], None if pooled is None else torch.zeros_like(pooled)[None])

    def _encoded(self, texts: Sequence[str]) -> dict[str, EncodedText]:
        """New texts, encoded on whatever device the pipeline is, brought to main memory."""
        if not texts:
            return {}
        with self.room(), torch.no_grad():
            pipeline = self._load()
            every = [_at_home(self.family.encode_text(pipeline, [text], self.length)[0]) for text in texts]
            del pipeline
            gc.collect()
        return dict(zip(texts, every, strict=True))

    def _file(self, kind: str, text: str) -> Path | None:
        if self.cache is None:
            return None
        return self.cache / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"

    def _cached(self, kind: str, text: str) -> EncodedText | None:
        """What the disk has; a file that cannot be read is as good as none, for it is made again."""
        file = self._file(kind, text)
        if file is None or not file.exists():
            return None
        try:
            held = load_file(file)
            return EncodedText(held["hidden"], held["own"], held.get("pooled"), held.get("mask"))
        except (SafetensorError, OSError, KeyError):
            return None

    def _keep(self, kind: str, text: str, encoded: EncodedText) -> None:
        file = self._file(kind, text)
        if file is None or file.exists():
            return
        parts = {"hidden": encoded.hidden, "own": encoded.own, "pooled": encoded.pooled, "mask": encoded.mask}
        try:
            with atomic_write(file) as part:
                save_file({name: x.contiguous() for name, x in parts.items() if x is not None}, part)
        except (UserError, SafetensorError):
            self.cache = None  # a cache that cannot be written is a slower run, not a failed one


def _at_home(encoded: EncodedText) -> EncodedText:
    parts = (encoded.hidden, encoded.own, encoded.pooled, encoded.mask)
    return EncodedText(*(None if part is None else part.detach().cpu() for part in parts))  # type: ignore[arg-type]


def _batch(rows: Sequence[EncodedText]) -> TextTokens:
    """Prompts of one length stacked; shorter ones padded with zeros that the mask names."""
    longest = max(len(row.hidden) for row in rows)
    padded = any(len(row.hidden) < longest for row in rows)
    hidden = torch.stack([_pad(row.hidden, longest) for row in rows])
    masks = [torch.ones(len(row.hidden), dtype=torch.bool) if row.mask is None else row.mask.bool() for row in rows]
    masked = padded or any(row.mask is not None for row in rows)
    mask = torch.stack([_pad(own, longest) for own in masks]) if masked else None
    pooled = None if rows[0].pooled is None else torch.stack([row.pooled for row in rows])  # type: ignore[misc]
    return TextTokens(hidden, pooled, mask)


def _pad(x: torch.Tensor, length: int) -> torch.Tensor:
    return torch.cat([x, x.new_zeros(length - len(x), *x.shape[1:])])
