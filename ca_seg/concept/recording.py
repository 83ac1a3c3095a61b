"""A recorded batch of images. It can be asked for words any number of times, without running the images again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from ca_seg.concept.ask import attend_to_concepts
from ca_seg.concept.choices import CONCEPT_ATTENTION, IMAGE_OUTPUT
from ca_seg.concept.eight_bit import EightBit
from ca_seg.concept.features import ConceptFeatures
from ca_seg.concept.grid import Grid
from ca_seg.concept.known_words import KnownWords
from ca_seg.concept.linears import Modulation
from ca_seg.concept.prompt_attention import PromptAttention
from ca_seg.concept.record import Stream, alone, batch_rows
from ca_seg.errors import OutOfRange, UnknownName, UserError
from ca_seg.vocabulary import Vocabulary, Words, as_vocabulary

KV = ("key", "value")
MAX_NAMES = 20  # class names in an error message


class ConceptPass(Protocol):
    """Computes the concept streams of each vocabulary for a recording (`Backbone.ask`).

    With `images`, each vocabulary is asked of one image: of these recorded rows, one for each noised copy. The
    recording's `call` then has as many rows.
    """

    def __call__(
        self,
        vocabularies: Sequence[Vocabulary],
        recording: Recording,
        concept_attention: str,
        images: tuple[slice, ...] = (),
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
    modulation: Modulation = field(default_factory=Modulation)  # of the concepts; the first ask computes it
    known: KnownWords | None = None  # the only words that can be asked; they were asked while the image was recorded
    answers: tuple[tuple[Stream, ...], ...] = ()  # the concept streams of each of the known vocabularies
    prompt: PromptAttention | None = None  # for readers of the prompt
    words_apart: bool = True  # words do not depend on those that are asked with them (see `Family`)
    levels_alike: bool = True  # every image has the same noise levels

    @property
    def batch(self) -> int:
        """The number of images."""
        return batch_rows(self.streams) // self.noised_copies

    def select(self, image: int) -> Recording:
        """The recording of one image of the batch, all its noised copies. It does not keep the batch in memory."""
        return self.rows(slice(image, None, self.batch))._each(lambda part: part.each(alone))

    def first_noised_copies(self, count: int) -> Recording:
        """The recording with only the first `count` noised copies; tensors are not copied. Raises OutOfRange."""
        if not 1 <= count <= self.noised_copies:
            raise OutOfRange(f"{count} noised copies of a recording", allowed=f"1 to {self.noised_copies}")
        return replace(self.rows(slice(0, count * self.batch)), noised_copies=count)

    def eight_bit(self) -> Recording:
        """The recording with keys and values in 8 bits, for one that waits long for words.

        Maps change a little (docs/method.md says by how much); the attention outputs that they read stay as they are.
        """

        def smaller(stream: Stream) -> Stream:
            key, value = (None if getattr(stream, name) is None else EightBit.of(stream.part(name)) for name in KV)
            return replace(stream, key=key, value=value)

        return replace(self, streams=tuple(map(smaller, self.streams)))

    def rows(self, chosen: slice | torch.Tensor) -> Recording:
        """Some of the copies * B rows, as many of every copy, by a slice (tensors are not copied) or by indices."""
        total = batch_rows(self.streams)
        call = {k: _rows(v, chosen, total) for k, v in self.call.items()}
        changed = self._each(lambda part: part.rows(chosen))
        return replace(changed, call=call, prediction=None, modulation=Modulation())

    def _each(self, change: Callable[[Any], Any]) -> Recording:
        """The recording with every stream, and the attention to the prompt, changed."""
        answers = tuple(tuple(map(change, streams)) for streams in self.answers)
        prompt = None if self.prompt is None else change(self.prompt)
        return replace(self, streams=tuple(map(change, self.streams)), answers=answers, prompt=prompt)

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
        if self.known is None:
            streams = self.concept_pass(asked, self, concept_attention)
        else:
            streams = self._answers(self.known, asked, concept_attention, image_output)
        features = []
        for vocabulary, concept in zip(asked, streams, strict=True):
            image = self.streams if image_output == "stock" else tuple(map(attend_to_concepts, self.streams, concept))
            shape = (vocabulary, self.grid, self.noised_copies, self.layers)
            features.append(ConceptFeatures(*shape, image, tuple(concept), self.prompt))
        return features

    def ask_images(
        self, words: Mapping[int, Words], *, concept_attention: str = "both", image_output: str = "stock"
    ) -> dict[int, ConceptFeatures]:
        """Ask images of the batch, each for its own words, in one pass; options as in `ask`.

        The families whose words depend on each other (`Family.words_apart`), and images whose noise levels differ, are
        asked image by image.

        Args:
            words: image of the batch -> its words

        Returns:
            For each image the same as `select(image).ask(words)`, without a copy of the image's part.
        """
        asked = {image: as_vocabulary(vocabulary) for image, vocabulary in words.items()}
        options = {"concept_attention": concept_attention, "image_output": image_output}
        plain = self.known is None and image_output == "stock" and concept_attention in CONCEPT_ATTENTION
        if not (asked and plain and self.words_apart and self.levels_alike):
            return {image: self.select(image).ask(vocabulary, **options) for image, vocabulary in asked.items()}
        parts = {image: self.rows(slice(image, None, self.batch)) for image in asked}
        first = next(iter(parts.values()))  # the noise levels of its copies are those of every image
        shared = replace(self, call=first.call, modulation=first.modulation)
        images = tuple(slice(image, None, self.batch) for image in asked)
        streams = self.concept_pass(list(asked.values()), shared, concept_attention, images)
        shape = (self.grid, self.noised_copies, self.layers)
        return {
            image: ConceptFeatures(asked[image], *shape, part.streams, tuple(concept), part.prompt)
            for (image, part), concept in zip(parts.items(), streams, strict=True)
        }

    def _answers(
        self, known: KnownWords, asked: Sequence[Vocabulary], concept_attention: str, image_output: str
    ) -> list[list[Stream]]:
        """The streams of vocabularies that were asked while the image was recorded."""
        others = [vocabulary for vocabulary in asked if vocabulary not in known.vocabularies]
        if others or concept_attention != known.concept_attention or image_output != "stock":
            what = f"the classes {', '.join(others[0].classes[:MAX_NAMES])}" if others else "other options"
            raise UserError(
                f"{what} were not asked while the image was recorded, and no more than that answer was kept",
                allowed="the known words and their options",
                fix="record without `known`",
            )
        return [list(self.answers[known.vocabularies.index(vocabulary)]) for vocabulary in asked]


def _rows(value: Any, chosen: slice | torch.Tensor, total: int) -> Any:
    one_per_row = isinstance(value, torch.Tensor) and value.ndim > 0 and len(value) == total
    return value[chosen] if one_per_row else value
