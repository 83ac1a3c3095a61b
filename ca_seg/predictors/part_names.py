"""Names for parts that were found without words: the words whose maps are highest on a part."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ca_seg.errors import UserError


def part_names(maps: Tensor, parts: Tensor, words: Sequence[str], *, best: int = 3) -> list[dict[str, float]]:
    """The words that fit each part best.

    Args:
        maps: the probabilities of the words [K, h, w]
        parts: int64 [h, w], the part of each token: 0 .. P-1
        words: of the K maps
        best: how many words each part gets, at most

    Returns:
        For each part words and their mean probability over its tokens, among all K words; the best one first.

    Raises UserError for shapes that do not fit.
    """
    if maps.ndim != 3 or maps.shape[1:] != parts.shape or len(words) != len(maps):
        raise UserError(
            f"maps of shape {tuple(maps.shape)} and parts of shape {tuple(parts.shape)} for {len(words)} words",
            allowed="[K, h, w] and [h, w] for K words",
        )
    member = torch.nn.functional.one_hot(parts.flatten()).to(maps)  # [N, P]
    means = maps.flatten(1) @ (member / member.sum(dim=0))  # [K, P]
    top = means.topk(min(best, len(words)), dim=0)
    columns = zip(top.indices.T.tolist(), top.values.T.tolist(), strict=True)
    return [{words[k]: score for k, score in zip(indices, scores, strict=True)} for indices, scores in columns]


def titles(names: Sequence[dict[str, float]]) -> tuple[str, ...]:
    """A title for each part, no two alike: its best word, with a number from its second part on; "part 1" without."""
    counts: dict[str, int] = {}
    result = []
    for number, words in enumerate(names, start=1):
        word = next(iter(words), f"part {number}")
        counts[word] = counts.get(word, 0) + 1
        result.append(word if counts[word] == 1 else f"{word} {counts[word]}")
    return tuple(result)
