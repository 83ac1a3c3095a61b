"""A recorded image batch: asked as often as one likes, without running the image again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from ca_seg.concept.ask import CONCEPT_ATTENTION, IMAGE_OUTPUT, attend_to_concepts
from ca_seg.concept.features import ConceptFeatures
from ca_seg.concept.grid import Grid
from ca_seg.concept.record import Stream
from ca_seg.errors import OutOfRange, UnknownName
from ca_seg.vocabulary import Vocabulary


class ConceptPass(Protocol):
    """Whoever recorded knows how to ask: the concept streams of a recording."""

    def __call__(self, vocabulary: Vocabulary, recording: Recording, concept_attention: str) -> list[Stream]: ...


@dataclass(frozen=True)
class Recording:
    """What the image stream said in layers 0 .. last, for B images in `draws` (timestep, noise) draws each."""

    grid: Grid
    noised_copies: int
    layers: tuple[int, ...]  # the layers that maps read by default
    streams: tuple[Stream, ...]  # each [draws * B, heads, N, head_dim]
    call: dict[str, Any]  # the transformer's arguments, without text and with one dummy for the image
    prediction: torch.Tensor | None  # the stock model's output; None when the pass was cut after the last layer
    concept_pass: ConceptPass

    @property
    def batch(self) -> int:
        return len(self.streams[0].key) // self.noised_copies

    def select(self, image: int) -> Recording:
        """The recording of one image of the batch, all its draws; no copy."""
        return self.rows(slice(image, None, self.batch))

    def first_noised_copies(self, count: int) -> Recording:
        """The recording as if it had been made with the first `count` draws only; no copy."""
        if not 1 <= count <= self.noised_copies:
            raise OutOfRange(f"{count} draws of a recording", allowed=f"1 to {self.noised_copies}")
        return replace(self.rows(slice(0, count * self.batch)), noised_copies=count)

    def rows(self, chosen: slice) -> Recording:
        """Some rows of draws * B, as many of each draw."""
        total = len(self.streams[0].key)
        call = {k: _rows(v, chosen, total) for k, v in self.call.items()}
        return replace(self, streams=tuple(s.rows(chosen) for s in self.streams), call=call, prediction=None)

    def ask(
        self, vocabulary: Vocabulary, *, concept_attention: str = "both", image_output: str = "stock"
    ) -> ConceptFeatures:
        """Where is each word? One pass over C concept tokens; the images are not run again.

        `concept_attention` is what a concept looks at: both (itself and the others, and the image: the method), or the
        paper's ablations cross (image only), self (concepts only), none. `image_output` is what maps take for the
        image's attention output: stock (the model's own, as the paper says), or concepts (the image looking at image
        and concepts, as the method's reference code does for SD3; needs a recording with queries). Raises UnknownName.
        """
        if concept_attention not in CONCEPT_ATTENTION:
            raise UnknownName("concept attention", concept_attention, CONCEPT_ATTENTION)
        if image_output not in IMAGE_OUTPUT:
            raise UnknownName("image output", image_output, IMAGE_OUTPUT)
        concept = self.concept_pass(vocabulary, self, concept_attention)
        image = self.streams if image_output == "stock" else tuple(map(attend_to_concepts, self.streams, concept))
        return ConceptFeatures(vocabulary, self.grid, self.noised_copies, self.layers, image, tuple(concept))


def _rows(value: Any, chosen: slice, total: int) -> Any:
    one_per_row = isinstance(value, torch.Tensor) and value.ndim > 0 and len(value) == total
    return value[chosen] if one_per_row else value
