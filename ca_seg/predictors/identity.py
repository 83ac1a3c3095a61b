"""What a method is, whatever it is called: its head and its weights, for results that may only go on with the same.

head                the values of its tensors, and how it reads
weights that ship   their checksums; those of the hub: repository and revision, for both are fixed by the card
a folder or file    its content; beyond `WHOLE` bytes the sizes and times of its files, which are read at once
a loaded backbone   64 values of each tensor
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.loading.card import Card, find_card
from ca_seg.features.frozen import weights_digest
from ca_seg.heads.trained import TrainedHead
from ca_seg.predictors.settings import BackboneSettings

WHOLE = 2**30  # bytes that are read to name them


def method_identity(
    model: BackboneSettings, head: TrainedHead | None = None, loaded: Backbone | None = None
) -> dict[str, Any]:
    """The identity of a method as JSON values; nothing is loaded.

    Args:
        model: the backbone and its readout
        head: the head that reads it
        loaded: the backbone, where one was given in place of a name
    """
    return {
        "readout": model.reading(loaded),
        "head": None if head is None else head_identity(head),
        "weights": weights_identity(model, loaded),
    }


def head_identity(head: TrainedHead) -> dict[str, Any]:
    """The weights of a head, and what it does with them."""
    return {
        "weights": weights_digest(head),
        "kind": head.kind,
        "parts": head.parts,
        "readout": head.readout,
        "resolution": head.resolution,
        "phrase_pooling": head.phrase_pooling,
        "classes": list(head.vocabulary.classes),
        "phrases": [list(phrases) for phrases in head.vocabulary.phrases],
    }


def weights_identity(model: BackboneSettings, loaded: Backbone | None = None) -> dict[str, Any]:
    """The weights of a backbone. Raises UnknownName."""
    if loaded is not None:
        return {"loaded": weights_digest(loaded.transformer, loaded.autoencoder)}
    of_card = _of_card(find_card(model.backbone))
    given = {
        name: files_identity(Path(path)) for name, path in (("weights", model.weights), ("gguf", model.gguf)) if path
    }
    return of_card | given


def files_identity(path: Path) -> str:
    """A short name for the content of a file, or of all files in a folder; see `WHOLE`."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    states = [file.stat() for file in files]
    read, digest = sum(state.st_size for state in states) <= WHOLE, hashlib.sha256()
    for file, state in zip(files, states, strict=True):
        name = file.name if file == path else file.relative_to(path).as_posix()
        content = _content(file) if read else str(state.st_mtime_ns)
        digest.update(f"{name} {state.st_size} {content}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]


def _content(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _of_card(card: Card) -> dict[str, Any]:
    if card.folder:
        return {"shipped": card.checksums, "autoencoder_of": card.autoencoder_of}
    return {"hub": card.hub, "revision": card.revision}
