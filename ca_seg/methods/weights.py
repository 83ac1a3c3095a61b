"""Real weights from the Hugging Face hub: what cannot be reached is one error that names repository and licence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from ca_seg.errors import WeightsUnavailable
from ca_seg.methods.card import MethodCard, Weights
from ca_seg.pretrained import NO_CONNECTION, hub_answers


@contextmanager
def reading(weights: Weights, card: MethodCard) -> Iterator[None]:
    """While a library downloads or reads `weights`. Raises WeightsUnavailable where it cannot.

    Example:
        >>> with reading(CARD.weights[0], CARD):
        ...     model = timm.create_model(f"hf-hub:{CARD.weights[0].repository}", pretrained=True)
    """
    try:
        if not hub_answers():
            _check_cached(weights)
        yield
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as problem:
        reason = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise WeightsUnavailable(
            f"the weights of {card.name} ({weights}, licence {weights.licence}) cannot be reached: {reason}",
            fix=f"connect to the hub, or give a ready object: ca_seg.method({card.name!r}, {card.takes}=...)",
        ) from problem


def _check_cached(weights: Weights) -> None:
    """Raises OSError for weights that are not in the hub's cache. The libraries would ask for half a minute."""
    try:
        snapshot_download(weights.repository, revision=weights.revision, local_files_only=True)
    except LocalEntryNotFoundError as problem:
        raise OSError(NO_CONNECTION) from problem
