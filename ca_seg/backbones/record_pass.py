"""One pass of a transformer over noised images. Words that are known beforehand are asked in the same pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ca_seg.backbones.ask_pass import AskPass
from ca_seg.backbones.families.base import Family
from ca_seg.backbones.prompt_recorder import prompt_recorder
from ca_seg.concept.grid import Grid
from ca_seg.concept.known_words import KnownWords, record_and_ask
from ca_seg.concept.prompt_attention import PromptAttention, Tokens
from ca_seg.concept.record import Kept, Stream, record_streams


@dataclass(frozen=True)
class Recorded:
    """What one pass gives: fields of a `Recording`."""

    streams: tuple[Stream, ...]
    prediction: torch.Tensor | None
    answers: tuple[tuple[Stream, ...], ...] = ()
    prompt: PromptAttention | None = None


@dataclass(frozen=True)
class RecordPass:
    """A pass over noised images that keeps what maps read of `layers`.

    Args:
        family, transformer: of the backbone
        inputs: the transformer's arguments
        grid: of the images
        layers: the joint attentions that maps will read
        stop_early: end the pass after the last layer
    """

    family: Family
    transformer: Any
    inputs: dict[str, Any]
    grid: Grid
    layers: tuple[int, ...]
    stop_early: bool = True

    def for_any_words(self, *, queries: bool, prompt_tokens: Sequence[Tokens] | None) -> Recorded:
        """Keep the keys and values of all layers, with `queries` the image's queries too, and the attention to the
        prompt where its tokens are given."""
        everywhere = ("query", "key", "value") if queries else ("key", "value")
        return self._recorded(Kept(self.layers, ("output",), everywhere), queries, prompt_tokens)

    def for_known_words(self, known: KnownWords, ask: AskPass | None) -> Recorded:
        """Keep only what maps of the known words read; `ask` is the pass over them, None where there are none."""
        kept = known.kept_of_image(self.layers)
        if ask is None:
            return self._recorded(kept, "query" in kept.parts, None)
        streams, concept, prediction = record_and_ask(
            self.transformer,
            self.family.attentions(self.transformer),
            self.family.blocks(self.transformer),
            self.inputs,
            partial(
                ask,
                concept_attention=known.concept_attention,
                kept=known.kept_of_concepts(self.layers),
                last_layer=max(self.layers),
            ),
            kept=kept,
            **self._options,
        )
        return Recorded(tuple(streams), _first(prediction), tuple(map(tuple, ask.by_vocabulary(concept))))

    def _recorded(self, kept: Kept, queries: bool, prompt_tokens: Sequence[Tokens] | None) -> Recorded:
        attentions = self.family.attentions(self.transformer)
        words = prompt_recorder(self.family, self.transformer, prompt_tokens, self.grid.tokens, max(self.layers))
        streams, prediction = record_streams(
            self.transformer, attentions, self.inputs, queries=queries, kept=kept, observe=words, **self._options
        )
        prompt = None if words is None else words.result(attentions)
        return Recorded(tuple(streams), _first(prediction), prompt=prompt)

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "image_tokens": self.grid.tokens,
            "text_first": self.family.text_first,
            "last_layer": max(self.layers),
            "stop_early": self.stop_early,
        }


def _first(output: Any) -> torch.Tensor | None:
    """The prediction in a transformer's output; None if the pass ended early."""
    return None if output is None else output[0]
