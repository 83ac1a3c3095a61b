"""Masks by words for one image after another, as annotation tools ask: often again for the image of the last question.

image ──record──► recording ──ask words──► Segmentation
                      │
                      └── the last few are kept; a second question, with any words, starts here
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.data.inputs import NamedImage
from ca_seg.data.seeds import image_seed
from ca_seg.errors import OutOfRange
from ca_seg.jobs.arguments import checked_settings
from ca_seg.jobs.segmentation import Segmentation
from ca_seg.jobs.segmenter import Segmenter, SegmentSettings, default_device
from ca_seg.predictors.predictor import Prediction
from ca_seg.vocabulary import Words

MAX_WORD_LISTS = 32  # of which the encoded words are kept
Kept = TypeVar("Kept")


class WordMasks:
    """A loaded backbone that segments images by words, and keeps the recordings of the last images.

    The result equals that of `ca_seg.segment` with the same settings, to the last bit, whether the recording was kept
    or not. Several threads may call it; they are served one after another.

    Args:
        settings: as in `ca_seg.segment`
        backbone: a loaded one, in place of the settings'
        recordings: how many images' recordings are kept, 0 or more; 0 where images are asked once. One of `photo` takes
            megabytes, one of a large model up to gigabytes (`ca-seg zoo plan` computes it)

    Raises:
        OutOfRange: for a negative number of recordings
        UserError: for settings and weights that cannot be used
    """

    def __init__(
        self, settings: SegmentSettings | None = None, *, backbone: Backbone | None = None, recordings: int = 4
    ) -> None:
        if recordings < 0:
            raise OutOfRange(f"{recordings} recordings are kept", allowed="0 or more")
        self.settings = checked_settings(settings, SegmentSettings()).with_preset()
        if backbone is not None:
            self.settings.check_loaded(backbone)
        loaded = self.settings.load(default_device(self.settings.device)) if backbone is None else backbone
        self.backbone = loaded
        self._predictor = self.settings.predictor(
            loaded, queries=self.settings.refinement_steps(loaded.card.name).needs_queries
        )
        self._recordings: OrderedDict[str, Prediction] = OrderedDict()
        self._segmenters: OrderedDict[str, Segmenter] = OrderedDict()
        self._max_recordings = recordings
        self._lock = threading.RLock()

    def segmenter(self, words: Words) -> Segmenter:
        """The segmenter of these words. Raises UserError for words that cannot be asked."""
        with self._lock:
            return _kept(
                self._segmenters,
                repr(words),
                MAX_WORD_LISTS,
                lambda: Segmenter(words, self.settings, backbone=self.backbone),
            )

    def __call__(self, image: NamedImage, words: Words) -> Segmentation:
        """The segmentation of one image.

        Args:
            image: its name decides its noise, as in `ca_seg.segment`
            words: as in `ca_seg.segment`

        Raises:
            UnreadableImage: for a file that is not a whole image
            UserError: for words that cannot be asked; they are checked before the image is read
        """
        with self._lock, torch.no_grad():
            segmenter = self.segmenter(words)
            if not self._max_recordings:
                return segmenter(image)  # records for these words only, which takes less memory
            pixels = image.pixels
            digest = hashlib.sha256(pixels.numpy().tobytes()).hexdigest()
            seed = image_seed(self.settings.seed, image.image_id)
            key = f"{seed} {tuple(pixels.shape)} {digest}"
            prediction = _kept(
                self._recordings, key, self._max_recordings, lambda: self._predictor.predict(pixels[None], [seed])
            )
            return segmenter.segmentation(image, prediction)

    @property
    def kept(self) -> int:
        """How many recordings are kept now."""
        return len(self._recordings)


def _kept(kept: OrderedDict[str, Kept], key: str, limit: int, compute: Callable[[], Kept]) -> Kept:
    """The value of a key, computed where it is not kept; of more than `limit` the one used longest ago is dropped."""
    if key in kept:
        kept.move_to_end(key)
        return kept[key]
    while kept and len(kept) >= limit:  # before the next one is computed, for its memory
        kept.popitem(last=False)
    kept[key] = compute()
    return kept[key]
