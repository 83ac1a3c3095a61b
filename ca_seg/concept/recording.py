"""A recorded picture batch: asked as often as one likes, without running the image again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from ca_seg.concept.features import ConceptFeatures
from ca_seg.concept.grid import Grid
from ca_seg.concept.record import Stream
from ca_seg.vocabulary import Vocabulary


@dataclass(frozen=True)
class Recording:
    """What the image stream said in layers 0 .. last, for B pictures in `draws` (timestep, noise) draws each."""

    grid: Grid
    draws: int
    layers: tuple[int, ...]  # the layers that maps read by default
    streams: tuple[Stream, ...]  # each [draws * B, heads, N, head_dim]
    timesteps: torch.Tensor  # [draws * B], 0..1
    prediction: torch.Tensor | None  # the stock model's output; None when the pass was cut after the last layer
    asker: Callable[[Vocabulary, Recording], list[Stream]]

    @property
    def batch(self) -> int:
        return self.streams[0].key.shape[0] // self.draws

    def select(self, picture: int) -> Recording:
        """The recording of one picture of the batch, all its draws; no copy."""
        rows = slice(picture, None, self.batch)
        streams = tuple(Stream(None, s.key[rows], s.value[rows], s.output[rows]) for s in self.streams)
        return replace(self, streams=streams, timesteps=self.timesteps[rows], prediction=None)

    def ask(self, vocabulary: Vocabulary) -> ConceptFeatures:
        """Where is each word? One pass over C concept tokens; the pictures are not run again."""
        concept = self.asker(vocabulary, self)
        return ConceptFeatures(vocabulary, self.grid, self.draws, self.layers, self.streams, tuple(concept))
