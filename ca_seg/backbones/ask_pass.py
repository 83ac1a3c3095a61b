"""One pass of a transformer over the words of several vocabularies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ca_seg.backbones.families.base import Family, TextTokens
from ca_seg.concept.ask import Layout, ask_streams
from ca_seg.concept.compiled import uncompiled
from ca_seg.concept.grid import Grid
from ca_seg.concept.linears import Linear
from ca_seg.concept.record import Stream


@dataclass(frozen=True)
class AskPass:
    """Everything that an ask needs but the recorded streams."""

    family: Family
    transformer: Any
    inputs: dict[str, Any]  # the transformer's arguments
    grid: Grid  # of the recorded image
    layout: Layout
    linears: Linear

    @classmethod
    def over(
        cls,
        words: TextTokens,
        groups: tuple[int, ...],
        call: dict[str, Any],
        grid: Grid,
        rows: int,
        family: Family,
        transformer: Any,
        linears: Linear,
    ) -> AskPass:
        """The pass over words [1, C, d], the same in so many rows; `groups` says how many each vocabulary has."""
        concepts = words.each(lambda x: x.expand(rows, *x.shape[1:]))
        layout = Layout(words.hidden.shape[1], family.text_first, family.registers(transformer), groups)
        inputs = family.joined(call, family.text_inputs(transformer, concepts, concepts=True))
        return cls(family, transformer, inputs, grid, layout, linears)

    def of_images(self, images: tuple[slice, ...]) -> AskPass:
        """The same pass where each vocabulary is asked of some of the recorded rows only; none: of all."""
        return replace(self, layout=replace(self.layout, images=images))

    def __call__(self, image: Sequence[Stream], **options: Any) -> list[Stream]:
        """The concept streams, layer by layer; options as of `ask_streams`."""
        attentions = self.family.attentions(self.transformer)
        with self.family.asking(self.transformer, self.grid):
            return ask_streams(
                self.transformer, attentions, self.inputs, image, self.layout, linears=self.linears, **options
            )

    def answers(self, image: Sequence[Stream], concept_attention: str) -> list[list[Stream]]:
        """The concept streams of each vocabulary for a whole recording."""
        with uncompiled(self.transformer):
            return self.by_vocabulary(self(image, concept_attention=concept_attention))

    def by_vocabulary(self, streams: Sequence[Stream]) -> list[list[Stream]]:
        """The streams of the concepts of each vocabulary."""
        return [[stream.tokens(group) for stream in streams] for group in self.layout.group_slices]
