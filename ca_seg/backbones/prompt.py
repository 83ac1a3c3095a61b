"""The prompt that the model reads beside an image while it is recorded.

    none       the empty text
    all        the words that are asked, joined by commas
    present    those of them that the image's ground truth shows: an oracle, for evaluations only
    captioner  the caption of the image; see `caption_prompt.py`
    TEXT       any other text, the same for every image

With `all`, an image is recorded anew for each vocabulary that is asked. So an evaluation never tells the model more
than its protocol does: under `oracle-presence` the prompt has the words of the image, under `full-vocabulary` all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ca_seg.backbones.text.phrase_tokens import SEPARATOR
from ca_seg.captioner import check_captioner
from ca_seg.concept.choices import ALL, CAPTIONER, NO_PROMPT, PRESENT, PROMPT_READERS
from ca_seg.errors import UserError
from ca_seg.vocabulary import Vocabulary

CHOICES = "none, all, present, captioner or a text"


@dataclass(frozen=True)
class Prompt:
    """A text, and the phrases that it is made of (none for a text of the user's own)."""

    text: str = ""
    phrases: tuple[str, ...] = ()

    @classmethod
    def of_phrases(cls, phrases: Sequence[str]) -> Prompt:
        return cls(SEPARATOR.join(phrases), tuple(phrases))


def prompts_of(prompt: str | Sequence[str], phrases: Sequence[Sequence[str]] | None, count: int) -> list[str]:
    """A prompt for each of `count` images: the same for all, or those that are given.

    Raises UserError for another number of prompts, or of lists of phrases.
    """
    prompts = [prompt] * count if isinstance(prompt, str) else list(prompt)
    for name, number in (("prompts", len(prompts)), ("lists of phrases", count if phrases is None else len(phrases))):
        if number != count:
            raise UserError(f"{number} {name} for {count} images", allowed="one for all, or one per image")
    return prompts


def image_prompt(choice: str, vocabulary: Vocabulary | None, present: Sequence[str] | None) -> Prompt:
    """The prompt of one image.

    Args:
        choice: none, all, present, or a text
        vocabulary: the words that are asked
        present: the classes that the image shows, in evaluations; those outside the vocabulary are left out

    Raises:
        UserError: for a choice that needs words, or the ground truth, where there are none
    """
    if choice not in (ALL, PRESENT):
        return Prompt() if choice == NO_PROMPT else Prompt(choice)
    if vocabulary is None:
        raise UserError(f"the prompt {choice!r} is made of the words that are asked, and there are none yet")
    if choice == ALL:
        return Prompt.of_phrases(vocabulary.concepts)
    if present is None:
        raise ground_truth_needed()
    shown = [vocabulary.phrases[vocabulary.classes.index(name)] for name in present if name in vocabulary.classes]
    return Prompt.of_phrases([phrase for phrases in shown for phrase in phrases])


def check_prompt(choice: str, captioner: str | None = None, *, ground_truth: bool) -> None:
    """Raises UserError for a prompt that cannot be used.

    Args:
        choice: none, all, present, captioner, or a text
        captioner: the weights of the captioner
        ground_truth: whether the job is an evaluation, which has it
    """
    if not isinstance(choice, str) or not choice.strip():
        raise UserError(f"the prompt is {choice!r}", allowed=CHOICES, fix="none is no prompt")
    if choice == CAPTIONER:
        check_captioner(captioner)
    if choice == PRESENT and not ground_truth:
        raise ground_truth_needed()


def check_prompt_reader(reader: str, prompt: str, templates: Sequence[str] | None) -> None:
    """Raises UserError for a reader of the prompt's words without such a prompt, or with templates."""
    if reader not in PROMPT_READERS:
        return
    if prompt not in (ALL, PRESENT, CAPTIONER):
        raise UserError(
            f"the reader {reader!r} reads the words of the prompt, and the prompt is {prompt!r}",
            allowed="prompt: all, captioner, or present in evaluations",
        )
    if templates:
        raise UserError(f"the reader {reader!r} has no templates", fix="leave templates out")


def ground_truth_needed() -> UserError:
    """The error for the prompt `present` where there is no ground truth."""
    return UserError(
        "the prompt 'present' has the words of the ground truth: it is an oracle",
        allowed="in evaluations only",
        fix="take 'all', 'none', 'captioner' or a text",
    )
