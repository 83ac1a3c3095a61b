"""The prompt `captioner`: an image is recorded with its caption.

                                    ┌─► any text encoder    "Two kittens sleep on a sofa."       the caption
image ──► captioner ──► caption ────┼─► the word table      "kitten, sofa"                       its nouns
                                    └─► readers of prompts  "cat, sofa"                          the classes it names

Readers of the prompt (`PROMPT_READERS`) look at the attention to the words that are asked. So they read the phrases of
the vocabulary that the caption names, as GoCA's authors do, and all phrases where it names none of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ca_seg.backbones.prompt import Prompt
from ca_seg.backbones.text.caption_words import phrases_of_caption, words_of_caption
from ca_seg.backbones.text.encoder import TextEncoder, WordTableText
from ca_seg.backbones.text.phrase_tokens import SEPARATOR
from ca_seg.backbones.text.word_list import shipped_table
from ca_seg.captioner import captions_of, no_captioner
from ca_seg.vocabulary import Vocabulary


def caption_prompts(
    captioner: str | None, images: torch.Tensor, text: TextEncoder, device: torch.device, asked: Vocabulary | None
) -> list[Prompt]:
    """The prompt of each image.

    Args:
        captioner: a repository of the hub or a folder; None is refused
        images: [B, 3, H, W], or clips [B, 3, F, H, W], of which the frame in the middle is captioned
        text: the text encoder that reads the prompt
        device: where the captioner runs
        asked: the words that are asked, for readers of the prompt; None: the prompt is the caption

    Raises:
        UserError, WeightsUnavailable: for a captioner that cannot be read
    """
    if captioner is None:
        raise no_captioner()
    frames = images if images.ndim == 4 else images[:, :, images.shape[2] // 2]
    captions = captions_of(captioner, frames, str(device))
    return [caption_prompt(caption, text, asked) for caption in captions]


def caption_prompt(caption: str, text: TextEncoder, asked: Vocabulary | None) -> Prompt:
    """The prompt that a caption gives; see `caption_prompts`."""
    if asked is not None:
        phrases: Sequence[str] = phrases_of_caption(caption, asked.concepts, shipped_table())
        return Prompt.of_phrases(phrases or asked.concepts)
    if isinstance(text, WordTableText):
        return Prompt(SEPARATOR.join(words_of_caption(caption, text.table)))
    return Prompt(caption)
