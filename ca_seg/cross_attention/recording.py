"""Noised copies of pictures that a denoiser has looked at once. Any text can then be asked, without the picture.

record(pictures, prompt) ──► queries, keys of every layer      one forward pass
ask(text)                ──► other keys, same queries          one forward pass over the smallest latents
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from ca_seg.cross_attention.layer import CrossAttention
from ca_seg.cross_attention.maps import PhraseTokens, merged
from ca_seg.cross_attention.words import PromptTokens
from ca_seg.vocabulary import Words, as_vocabulary


@dataclass(frozen=True)
class CrossAttentionRecording:
    """The cross-attentions of B pictures in `noised_copies` copies each; rows are copy by copy.

    Attributes:
        tokens: of the text whose keys the layers hold
        layers: those that were recorded
        noised_copies: noise samples times timesteps
        prediction: of the stock denoiser
        keys: gives the layers of another text, as (text, its tokens)
        softmax_padding: the softmax is over all tokens, padding included, as in the stock model
    """

    tokens: PromptTokens
    layers: tuple[CrossAttention, ...]
    noised_copies: int
    prediction: torch.Tensor
    keys: Callable[[str], tuple[dict[str, CrossAttention], PromptTokens]]
    softmax_padding: bool = True

    @property
    def batch(self) -> int:
        """The number of pictures."""
        return len(self.layers[0].query) // self.noised_copies

    def select(self, image: int) -> CrossAttentionRecording:
        """One picture, all its noised copies; tensors are not copied."""
        rows = slice(image, None, self.batch)
        layers = tuple(layer.rows(rows) for layer in self.layers)
        return replace(self, layers=layers, prediction=self.prediction[rows])

    def ask(self, text: str, *, softmax_padding: bool = False) -> CrossAttentionRecording:
        """The attention that these queries pay to another text, which need not be in the prompt.

        Marcos-Manchon et al. 2024, Open-Vocabulary Attention Maps, section 3.2: the queries of the image pass, the
        keys of an attribution prompt.

        Args:
            text: the attribution prompt
            softmax_padding: the softmax is over the padding tokens too; the authors' code encodes the text without any

        Raises:
            UserError: for a text that is too long
        """
        layers, tokens = self.keys(text)
        asked = tuple(layer.of_text(layers[layer.name]) for layer in self.layers)
        return replace(self, tokens=tokens, layers=asked, softmax_padding=softmax_padding)

    def phrase_maps(self, phrases: Sequence[str], *, resizing: str = "bicubic", in_order: bool = False) -> torch.Tensor:
        """`maps` of phrases: [B, C, h, w]; with `in_order`, of a text that lists them (`words.prompt_of`)."""
        chosen = PhraseTokens.of(self.tokens, phrases, padding=self.softmax_padding, in_order=in_order)
        maps = (layer.maps(chosen.tokens, chosen.among) for layer in self.layers)
        copies = (m.unflatten(0, (self.noised_copies, -1)).mean(dim=0) for m in maps)
        return chosen.pooled(merged(copies, resizing=resizing))

    def maps(self, words: Words, *, resizing: str = "bicubic") -> torch.Tensor:
        """The maps of words of the text: mean over the heads of all layers and noised copies, on the largest grid.

        Args:
            words: a word, a list of words, a dict of class to phrases, or a Vocabulary; each must stand in the text
            resizing: see `maps.merged`

        Returns:
            [B, K, h, w], 0..1 (frames before h for a video)

        Raises:
            UserError: for a word that is not in the text
        """
        vocabulary = as_vocabulary(words)
        return vocabulary.pool(self.phrase_maps(vocabulary.concepts, resizing=resizing), dim=1)
