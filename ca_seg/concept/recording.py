"""A recorded batch of images. It can be asked for words any number of times, without running the images again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from ca_seg.concept.ask import attend_to_concepts
from ca_seg.concept.choices import CONCEPT_ATTENTION, IMAGE_OUTPUT
from ca_seg.concept.features import ConceptFeatures
from ca_seg.concept.grid import Grid
from ca_seg.concept.prompt_attention import PromptAttention
from ca_seg.concept.record import Stream
from ca_seg.errors import OutOfRange, UnknownName, UserError
from ca_seg.vocabulary import Vocabulary, Words, as_vocabulary


class ConceptPass(Protocol):
    """Computes the concept streams of each vocabulary for a recording (`Backbone.ask`)."""

    def __call__(
        self, vocabularies: Sequence[Vocabulary], recording: Recording, concept_attention: str
    ) -> list[list[Stream]]: ...


@dataclass(frozen=True)
class Recording:
    """The image streams of layers 0 .. last, for B images in `noised_copies` copies each.

    A noised copy is an image noised at one (timestep, noise sample). Rows are copy by copy. Get one from
    `Backbone.record`.
    """

    grid: Grid
    noised_copies: int
    layers: tuple[int, ...]  # the layers that maps read by default
    streams: tuple[Stream, ...]  # each [copies * B, heads, N, head_dim]
    call: dict[str, Any]  # the transformer's arguments, without text and with one dummy token for the image
    prediction: torch.Tensor | None  # the stock model's output; None if the pass ended after the last layer
    concept_pass: ConceptPass
    prompt: PromptAttention | None = None  # for readers of the prompt

    @property
    def batch(self) -> int:
        """The number of images."""
        return len(self.streams[0].key) // self.noised_copies

    def select(self, image: int) -> Recording:
        """The recording of one image of the batch, all its noised copies; tensors are not copied."""
        return self.rows(slice(image, None, self.batch))

    def first_noised_copies(self, count: int) -> Recording:
        """The recording with only the first `count` noised copies; tensors are not copied. Raises OutOfRange."""
        if not 1 <= count <= self.noised_copies:
            raise OutOfRange(f"{count} noised copies of a recording", allowed=f"1 to {self.noised_copies}")
        return replace(self.rows(slice(0, count * self.batch)), noised_copies=count)

    def rows(self, chosen: slice) -> Recording:
        """Some of the copies * B rows, as many of every copy; tensors are not copied."""
        total = len(self.streams[0].key)
        call = {k: _rows(v, chosen, total) for k, v in self.call.items()}
        prompt = None if self.prompt is None else self.prompt.rows(chosen)
        streams = tuple(s.rows(chosen) for s in self.streams)
        return replace(self, streams=streams, call=call, prediction=None, prompt=prompt)

    def ask(
        self, vocabulary: Words, *, concept_attention: str = "both", image_output: str = "stock"
    ) -> ConceptFeatures:
        """Ask where words are: one pass over C concept tokens; the images are not run again.

        Args:
            vocabulary: a word, a list of words, a dict of class to phrases, or a Vocabulary
            concept_attention: what a concept attends to: both (the concepts and the image: the method), or the paper's
                ablations cross (the image only), self (the concepts only) and none
            image_output: the image's attention output in maps: stock (the model's, as in the paper), or concepts (of
                the image attending to image and concepts, as in the reference code for SD3; needs `queries=True`)

        Returns:
            The image and concept vectors; their `maps()` are [B, K, h, w].

        Raises:
            UnknownName: for an unknown choice, or a word that the backbone does not know
            UserError: for something that is not words

        Example:
            >>> backbone.record(image).ask(["cat", "grass"]).maps()
        """
        return self.ask_each([vocabulary], concept_attention=concept_attention, image_output=image_output)[0]

    def prompt_words(self, vocabulary: Words) -> ConceptFeatures:
        """How much the image attends to the words of its prompt, for readers that look at those; nothing is asked.

        Raises UserError for a recording that was made without.
        """
        if self.prompt is None:
            raise UserError("the recording has no attention to its prompt", fix="record(..., prompt_phrases=...)")
        asked = as_vocabulary(vocabulary)
        return ConceptFeatures(asked, self.grid, self.noised_copies, self.layers, self.streams, (), self.prompt)

    def ask_each(
        self, vocabularies: Sequence[Words], *, concept_attention: str = "both", image_output: str = "stock"
    ) -> list[ConceptFeatures]:
        """Ask several vocabularies in one pass, each as if it were asked alone (see `ask`).

        This is faster than several passes. The families whose words pass through a text refiner or have positions
        (HunyuanImage, HunyuanVideo, Z-Image, Qwen-Image) mix the words of all vocabularies there.

        Returns:
            The image and concept vectors of each vocabulary.
        """
        asked = [as_vocabulary(words) for words in vocabularies]
        if concept_attention not in CONCEPT_ATTENTION:
            raise UnknownName("concept attention", concept_attention, CONCEPT_ATTENTION)
        if image_output not in IMAGE_OUTPUT:
            raise UnknownName("image output", image_output, IMAGE_OUTPUT)
        features = []
        for vocabulary, concept in zip(asked, self.concept_pass(asked, self, concept_attention), strict=True):
            image = self.streams if image_output == "stock" else tuple(map(attend_to_concepts, self.streams, concept))
            shape = (vocabulary, self.grid, self.noised_copies, self.layers)
            features.append(ConceptFeatures(*shape, image, tuple(concept), self.prompt))
        return features


def _rows(value: Any, chosen: slice, total: int) -> Any:
    one_per_row = isinstance(value, torch.Tensor) and value.ndim > 0 and len(value) == total
    return value[chosen] if one_per_row else value
