"""Recordings that wait for words: the least recently used go first, by their number and by their memory."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, fields
from typing import Any

import torch

from ca_seg.backbones.readout import Readout
from ca_seg.concept.record import Stream

GIB = 2**30


@dataclass(frozen=True)
class RecordingKey:
    """Everything that a recording of all layers depends on.

    Args:
        picture: `Picture.key`
        backbone: `backbones.key_of`
        timesteps, noise_samples, flip, prompt, seed: of the settings
        captioner: what makes the prompt; None where the prompt is not "captioner"
        queries: whether the queries of the image are kept
    """

    picture: str
    backbone: tuple[Any, ...]
    timesteps: tuple[float, ...] | None
    noise_samples: int | None
    flip: bool
    prompt: str
    captioner: str | None
    seed: int
    queries: bool


class Recordings:
    """Kept recordings of one tab.

    Args:
        most: how many are kept at most
        most_bytes: how much memory they take at most; a recording that is larger is not kept
    """

    def __init__(self, most: int, most_bytes: float) -> None:
        self.most, self.most_bytes = most, most_bytes
        self._kept: OrderedDict[RecordingKey, Readout] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """Of all that are kept."""
        return sum(map(readout_bytes, self._kept.values()))

    def get(self, key: RecordingKey) -> Readout | None:
        """The recording, which is then the most recently used; None where there is none."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key]

    def put(self, key: RecordingKey, readout: Readout) -> None:
        """Keep a recording, and forget others until all fit."""
        if readout_bytes(readout) > self.most_bytes:
            return
        self._kept[key] = readout
        self._kept.move_to_end(key)
        while len(self._kept) > self.most or self.bytes > self.most_bytes:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        self._kept.clear()


def readout_bytes(readout: Readout) -> int:
    """The memory of a recording's tensors; one that several parts share counts once."""
    tensors = [getattr(stream, f.name) for stream in readout.recording.streams for f in fields(Stream)]
    tensors += [value for value in readout.recording.call.values() if isinstance(value, torch.Tensor)]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in tensors if isinstance(t, torch.Tensor)}
    size = sum(storage.nbytes() for storage in storages.values())
    return size if readout.flipped is None else size + readout_bytes(readout.flipped)
