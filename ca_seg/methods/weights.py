"""Real weights from the Hugging Face hub: what cannot be reached is one error that names repository and licence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from ca_seg.errors import WeightsUnavailable
from ca_seg.methods.card import MethodCard, Weights


@contextmanager
def reading(weights: Weights, card: MethodCard) -> Iterator[None]:
    """While a library downloads or reads `weights`. Raises WeightsUnavailable where it cannot.

    Example:
        >>> with reading(CARD.weights[0], CARD):
        ...     model = timm.create_model(f"hf-hub:{CARD.weights[0].repository}", pretrained=True)
    """
    try:
        yield
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as problem:
        reason = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise WeightsUnavailable(
            f"the weights of {card.name} ({weights}, licence {weights.licence}) cannot be reached: {reason}",
            fix=f"connect to the hub, or give a ready object: ca_seg.method({card.name!r}, {card.takes}=...)",
        ) from problem
