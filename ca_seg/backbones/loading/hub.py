"""Where a card's weights are: shipped with the project, in a local folder, or on the Hugging Face hub."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from ca_seg.backbones.loading.card import Card
from ca_seg.errors import CorruptWeights, WeightsUnavailable
from ca_seg.pretrained import NO_CONNECTION, hub_answers
from ca_seg.resources import resource_path


def weights_folder(card: Card, local: Path | None, patterns: list[str]) -> Path:
    """The folder that holds the card's weights; only files that match `patterns` are downloaded.

    Raises WeightsUnavailable, with the licence to accept or the folder to give, and CorruptWeights.
    """
    if local is not None:
        if not local.is_dir():
            raise WeightsUnavailable(f"no folder {local} with the weights of {card.name}", fix=_how_to_get(card))
        return local
    if card.folder:
        return checked(card, resource_path("checkpoints", card.folder))
    answers = hub_answers()
    try:
        return Path(
            snapshot_download(card.hub, revision=card.revision, allow_patterns=patterns, local_files_only=not answers)
        )
    except (GatedRepoError, RepositoryNotFoundError) as problem:
        raise WeightsUnavailable(
            f"the weights of {card.name} ({card.hub}) are not open to you", fix=_how_to_get(card)
        ) from problem
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as problem:
        reason = str(problem).splitlines()[0] if answers else NO_CONNECTION
        raise WeightsUnavailable(
            f"the weights of {card.name} ({card.hub}) cannot be read: {reason}", fix=_how_to_get(card)
        ) from problem


def cache_folder() -> Path:
    """The folder of files that can be computed again: $CA_SEG_CACHE, or ~/.cache/ca_seg."""
    return Path(os.environ.get("CA_SEG_CACHE") or Path.home() / ".cache" / "ca_seg")


def checked(card: Card, folder: Path) -> Path:
    """`folder`, after comparing its files with the card's checksums. Raises WeightsUnavailable, CorruptWeights."""
    for name, expected in card.checksums.items():
        file = folder / name
        if not file.exists():
            raise WeightsUnavailable(f"{file} is missing", fix="restore it from the repository")
        if hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise CorruptWeights(f"{file} is not the file that the card {card.name} names (checksum)", fix="restore it")
    return folder


def _how_to_get(card: Card) -> str:
    accept = f"accept the licence of {card.hub} on its page and log in with `hf auth login`, or " if card.gated else ""
    return f"{accept}give a local copy: weights=FOLDER (the diffusers layout: transformer/, vae/, ...)"
