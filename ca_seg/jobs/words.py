"""The words of a job, checked before anything large is read, with one warning for those that training never taught."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from ca_seg.backbones.backbone import Backbone
from ca_seg.errors import WordsWarning
from ca_seg.predictors.settings import BackboneSettings

MAX_NAMED = 20  # words or images in a warning


def check_words(
    model: BackboneSettings,
    phrases: Sequence[str],
    loaded: Backbone | None = None,
    *,
    warn: bool = True,
    ground_truth: bool = False,
) -> dict[str, str] | None:
    """The phrases that training never taught, as `Backbone.unseen` gives them; with `warn` a `WordsWarning` names them.

    Raises what `BackboneSettings.check_words` raises, which looks at the prompt too.
    """
    unseen = model.check_words(phrases, loaded, ground_truth=ground_truth)
    if warn:
        warn_of_unseen_words(model.backbone, unseen)
    return unseen


def warn_of_unseen_words(backbone: str, unseen: Mapping[str, str] | None) -> None:
    """One `WordsWarning` that names the words that training never taught; nothing where there are none."""
    if unseen:
        words = [f"{phrase} (the nearest in meaning is {taught})" for phrase, taught in unseen.items()]
        text = f"training never taught {backbone} the words {_named(words)}; their maps are unreliable"
        warnings.warn(text, WordsWarning, stacklevel=2)


def warn_of_absent_words(backbone: str, images: Sequence[str]) -> None:
    """One `WordsWarning` that names the images in which none of the words is likely; nothing where there are none."""
    if images:
        text = f"{backbone}: none of the words is likely in {_named(images)}; the masks of these images are unreliable"
        warnings.warn(text, WordsWarning, stacklevel=2)


def _named(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
