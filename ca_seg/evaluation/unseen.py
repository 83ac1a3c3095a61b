"""Figures of the classes that training never taught, apart from those of the classes that it taught."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ca_seg.evaluation.run import SplitScores
from ca_seg.vocabulary import Vocabulary


def unseen_figures(
    vocabulary: Vocabulary, unseen: Mapping[str, str], scores: Mapping[str, Mapping[str, SplitScores]]
) -> dict[str, Any]:
    """What results.json holds about words that training never taught.

    The mIoUs are means over two parts of the classes of one confusion matrix: a pixel of a taught class that gets an
    unseen one counts against both.

    Args:
        vocabulary: the classes and their phrases
        unseen: the phrases that the evaluated backbone was never taught, each with the nearest word that it was taught
        scores: by method and split

    Returns:
        `words`: `unseen`; `classes`: those without a phrase that was taught; `miou`: by method, split and protocol the
        mIoU over the `taught` and over the `unseen` classes, 0..1, NaN over no class
    """
    pairs = zip(vocabulary.classes, vocabulary.phrases, strict=True)
    is_unseen = torch.tensor([all(phrase in unseen for phrase in phrases) for _, phrases in pairs])
    classes = [name for name, marked in zip(vocabulary.classes, is_unseen.tolist(), strict=True) if marked]

    def figures(split: SplitScores) -> dict[str, dict[str, float]]:
        by_protocol = {protocol: by_class.per_class() for protocol, by_class in split.task.scores.items()}
        return {
            protocol: {"taught": float(iou[~is_unseen].nanmean()), "unseen": float(iou[is_unseen].nanmean())}
            for protocol, iou in by_protocol.items()
        }

    miou = {
        method: {split: figures(split_scores) for split, split_scores in by_split.items()}
        for method, by_split in scores.items()
    }
    return {"words": dict(unseen), "classes": classes, "miou": miou}
