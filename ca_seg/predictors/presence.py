"""Whether any of the words is in an image: they are asked a second time, beside reference words, in the same pass.

Maps are probabilities over the given words alone, so some word wins everywhere, also in an image that shows none of
them. Reference words give an image something else to be:

    first group     dog  grass                      the maps, as without presence
    second group    dog  grass | car  water  ...    a word's presence: its mean probability among all of these, over the
                                                    tokens where it is highest (1 of 32)

The presence of an image is that of its most present word. Reference words that are among the words, or near them in
meaning, are left out: "automobile" must not compete with "car".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.readout import Readout
from ca_seg.backbones.text.encoder import WordTableText
from ca_seg.backbones.text.word_list import read_words
from ca_seg.predictors.predictor import Prediction
from ca_seg.vocabulary import Vocabulary

TOKENS = 32  # the mean is over 1 of so many tokens
NEAR = 0.5  # cosine of word vectors from which on a reference word is near a word that is asked


@dataclass(frozen=True)
class ImagePresence:
    """How likely each word is in one image.

    Args:
        words: presence by class, 0..1, without a background class
        threshold: the lowest presence of a word that is likely in an image, fitted for the backbone
    """

    words: Mapping[str, float]
    threshold: float

    @property
    def highest(self) -> float:
        """The presence of the most present word, 0..1; 1 where there is no word but the background."""
        return max(self.words.values(), default=1.0)

    @property
    def likely(self) -> bool:
        """Whether any of the words is likely in the image."""
        return self.highest >= self.threshold

    @property
    def factor(self) -> float:
        """By what the image's confidence is multiplied: 1 where a word is likely, else highest / threshold."""
        return min(1.0, self.highest / self.threshold)


@dataclass(frozen=True)
class WordPresence:
    """Asks a vocabulary, and whether any of its words is in the image.

    Args:
        vocabulary: the words
        extended: the words and the reference words, each of them one more class
        threshold: as in `ImagePresence`
    """

    vocabulary: Vocabulary
    extended: Vocabulary
    threshold: float

    @classmethod
    def of(cls, backbone: Backbone, vocabulary: Vocabulary) -> WordPresence | None:
        """With the reference words and the threshold of the backbone's card; None where it was not measured.

        Raises WeightsUnavailable, CorruptWeights for the file of the reference words.
        """
        card, text = backbone.card, backbone.text
        if not card.presence or not isinstance(text, WordTableText):
            return None
        references = read_words(card, card.presence["reference_words"], text.table)
        return cls.beside(
            vocabulary, text.table.far_from(vocabulary.concepts, references, NEAR), card.presence["threshold"]
        )

    @classmethod
    def beside(cls, vocabulary: Vocabulary, references: Sequence[str], threshold: float) -> WordPresence:
        """With these reference words, none of which may be a phrase of the vocabulary."""
        classes = (*vocabulary.classes, *(f"reference: {word}" for word in references))
        phrases = (*vocabulary.phrases, *((word,) for word in references))
        return cls(vocabulary, Vocabulary(classes, phrases, vocabulary.background), threshold)

    @property
    def asked(self) -> tuple[Vocabulary, ...]:
        """What `maps` asks, in one pass."""
        if len(self.extended.classes) > len(self.vocabulary.classes):
            return self.vocabulary, self.extended
        return (self.vocabulary,)  # no reference word is far from the words

    def maps(self, prediction: Prediction) -> tuple[torch.Tensor, torch.Tensor]:
        """One pass for both.

        Args:
            prediction: B images, recorded and read as the card says (by a `ZeroShotPredictor`)

        Returns:
            The class maps [B, K, h, w], as `prediction.maps` gives them, and the presence of each class [B, K], 0..1.
        """
        assert isinstance(prediction, Readout)
        alone, *others = prediction.recording.ask_each(self.asked)
        beside = others[0] if others else alone
        everything = prediction.maps_of(beside)[:, : len(self.vocabulary.classes)].flatten(2)
        highest = everything.topk(max(1, everything.shape[2] // TOKENS), dim=2).values
        return prediction.maps_of(alone), highest.mean(dim=2)

    def of_image(self, presence: torch.Tensor) -> ImagePresence:
        """From the presence of each class of one image [K]."""
        by_class = zip(self.vocabulary.classes, presence.tolist(), strict=True)
        background = self.vocabulary.background
        words = {name: value for index, (name, value) in enumerate(by_class) if index != background}
        return ImagePresence(words, self.threshold)
