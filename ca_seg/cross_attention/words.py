"""Which tokens of a prompt are which words.

prompt    a photo of a traffic light
tokens    <s> a photo of a traffic light </s> <pad> ...
"traffic light"              5      6
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ca_seg.backbones.text.tokens import check_length, shortened
from ca_seg.errors import UserError


@dataclass(frozen=True)
class PromptTokens:
    """The T text tokens that a denoiser attends to.

    Attributes:
        text: the prompt as the pipeline tokenises it
        spans: for each token, the letters of `text` that it stands for; (0, 0) for special tokens and padding
        padding: for each token, whether it is padding
        ids: of the tokens that are not padding
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    padding: tuple[bool, ...]
    ids: tuple[int, ...]

    @property
    def unpadded(self) -> tuple[int, ...]:
        """The tokens that are not padding: words, start and end."""
        return tuple(index for index, padding in enumerate(self.padding) if not padding)

    def of_phrase(self, phrase: str) -> tuple[int, ...]:
        """The tokens of every place where the phrase stands as whole words, in any case.

        Raises:
            UserError: if it does not occur
        """
        return self._tokens(phrase, self._places(phrase, len(self.text)))

    def in_order(self, phrases: Sequence[str]) -> list[tuple[int, ...]]:
        """The tokens of each phrase of a prompt that lists them (`prompt_of`): "cat" is not looked for in "cat food".

        Raises:
            UserError: if they do not occur in this order
        """
        tokens, end = [], len(self.text)
        for phrase in reversed(phrases):  # from the end, because instructions may stand before a prompt
            last = self._places(phrase, end)[-1:]
            tokens.append(self._tokens(phrase, last))
            end = last[0][0]
        return tokens[::-1]

    def _places(self, phrase: str, end: int) -> list[tuple[int, int]]:
        words = r"\s+".join(map(re.escape, phrase.split()))
        matches = re.finditer(rf"(?<!\w){words}(?!\w)", self.text[:end], re.IGNORECASE)
        return [match.span() for match in matches]

    def _tokens(self, phrase: str, places: Sequence[tuple[int, int]]) -> tuple[int, ...]:
        """The tokens that stand for letters of the places."""
        tokens = [
            index
            for index, (start, end) in enumerate(self.spans)
            if any(start < last and first < end for first, last in places)
        ]
        if not tokens:
            raise UserError(
                f"the prompt {shortened(self.text)!r} does not contain {phrase!r}",
                fix="write the word into the prompt, or ask for it with an attribution text",
            )
        return tuple(tokens)


def tokenise(tokenizer: Any, text: str, length: int | None, *, pad: bool = True) -> PromptTokens:
    """`text` as `tokenizer` splits it, padded to `length` on the right (None: as long as it is).

    Raises:
        UserError: for a text of more than `length` tokens, and for a tokenizer that does not say which letters a token
            stands for
    """
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            f"{type(tokenizer).__name__} does not say which letters a token stands for",
            allowed="a fast tokenizer",
            fix="set the pipeline's tokenizer to AutoTokenizer.from_pretrained(..., use_fast=True)",
        )
    encoded = tokenizer(text, return_offsets_mapping=True)
    spans = [tuple(span) for span in encoded["offset_mapping"]]
    if length is not None:
        check_length(text, len(spans), length)
    missing = length - len(spans) if pad and length is not None else 0
    padding = [False] * len(spans) + [True] * missing
    return PromptTokens(text, (*spans, *[(0, 0)] * missing), tuple(padding), tuple(encoded["input_ids"]))


def prompts_of(phrases: Sequence[str], fits: Callable[[str], bool]) -> list[list[str]]:
    """The phrases in groups, in order, each as large as a prompt of it (`prompt_of`) fits the text encoder.

    Raises:
        UserError: for a phrase that does not fit alone
    """
    groups: list[list[str]] = []
    for phrase in phrases:
        if groups and fits(prompt_of([*groups[-1], phrase])):
            groups[-1].append(phrase)
        elif fits(prompt_of([phrase])):
            groups.append([phrase])
        else:
            raise UserError(f"the phrase {shortened(phrase)!r} is too long for the text encoder", fix="shorten it")
    return groups


def prompt_of(phrases: Sequence[str]) -> str:
    """The prompt that lists the phrases: "a cat, a grass", as in the evaluation of Helbling et al. 2025."""
    return ", ".join(f"a {phrase}" for phrase in phrases)


def contains(ids: Sequence[int], part: Sequence[int]) -> bool:
    """Whether `part` stands in `ids` without a gap."""
    size = len(part)
    return any(list(ids[start : start + size]) == list(part) for start in range(len(ids) - size + 1))
