"""Which tokens of a prompt belong to which of the phrases that it is made of.

prompt      cat, traffic light, sky
tokens      cat  ,  traffic  light  ,  sky
counted     1       2                  1          tokens of each phrase by itself
between        1                    1             the rest, the same number between any two phrases
"""

from __future__ import annotations

from collections.abc import Sequence

from ca_seg.errors import UserError

SEPARATOR = ", "  # between the phrases of a prompt


def phrase_tokens(
    prompt: str, phrases: Sequence[str], counts: Sequence[int], words: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    """The tokens of each phrase.

    Args:
        prompt: the phrases in their order, joined by `SEPARATOR`
        phrases: those that it is made of
        counts: how many tokens each phrase has by itself
        words: the indices of the prompt's tokens that are words, ascending

    Raises:
        UserError: for a prompt whose tokens do not add up to those of its phrases
    """
    between, rest = divmod(len(words) - sum(counts), max(1, len(phrases) - 1))
    if prompt != SEPARATOR.join(phrases) or between < 0 or rest or (between and len(phrases) == 1):
        raise UserError(
            f"the tokens of the prompt {prompt[:40]!r} are not those of its phrases one after the other",
            fix="take the reader 'concepts', which does not look at the prompt's tokens",
        )
    tokens_of, start = {}, 0
    for phrase, count in zip(phrases, counts, strict=True):
        tokens_of[phrase] = tuple(words[start : start + count])
        start += count + between
    return tokens_of
