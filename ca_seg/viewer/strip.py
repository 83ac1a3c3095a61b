"""Maps of the words at every layer, or at several timesteps: the figures of the paper (section 5), for one photograph.

             layer 0   layer 1   layer 2
cat            map       map       map
grass          map       map       map
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ca_seg.concept.choices import MEAN
from ca_seg.errors import UserError
from ca_seg.jobs.segmenter import Segmenter, SegmentSettings
from ca_seg.viewer.answer import check_layers, is_kept, read_with, recording_of
from ca_seg.viewer.backbones import Backbones
from ca_seg.viewer.picture import Picture
from ca_seg.viewer.session import Session

MAX_WORDS = 12  # rows
TIMESTEPS = (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95)


@dataclass(frozen=True, eq=False)
class Strip:
    """A table of maps.

    Args:
        words: of the rows
        columns: what each column is, such as "layer 2"
        maps: for each column the maps float [K, h, w] of the words
    """

    words: tuple[str, ...]
    columns: tuple[str, ...]
    maps: tuple[np.ndarray, ...]


def layer_strip(
    session: Session, backbones: Backbones, picture: Picture, words: Sequence[str], settings: SegmentSettings
) -> Strip:
    """Every loaded layer on its own. Raises UserError for words and options that cannot be used."""
    with backbones.computing:
        layers = range(backbones.get(settings).layers)
        chosen = [replace(settings, layers=(layer,), layer_weights=None) for layer in layers]
        names = [f"layer {layer}" for layer in layers]
        return _strip(session, backbones, picture, words, chosen, names)


def timestep_strip(
    session: Session,
    backbones: Backbones,
    picture: Picture,
    words: Sequence[str],
    settings: SegmentSettings,
    timesteps: Sequence[float] = TIMESTEPS,
) -> Strip:
    """Several noise levels, one pass for each. Raises UserError for words and options that cannot be used."""
    chosen = [replace(settings, timesteps=(timestep,), timestep_choice=MEAN) for timestep in timesteps]
    return _strip(session, backbones, picture, words, chosen, [f"t = {timestep:g}" for timestep in timesteps])


def _strip(
    session: Session,
    backbones: Backbones,
    picture: Picture,
    words: Sequence[str],
    chosen: Sequence[SegmentSettings],
    names: Sequence[str],
) -> Strip:
    if not 1 <= len(words) <= MAX_WORDS:
        raise UserError(f"{len(words)} words in a strip", allowed=f"1 to {MAX_WORDS}")
    if not all(map(is_kept, chosen)):
        raise UserError("a strip needs one recording", allowed="no windows, no scales, and no prompt of the words")
    columns = []
    with backbones.computing:
        for settings in chosen:
            backbone = backbones.get(settings)
            check_layers(settings, backbone)
            segmenter = Segmenter(list(words), replace(settings, refine=()), backbone=backbone, warn=False)
            whole, _ = recording_of(session, backbone, picture, settings)
            maps = read_with(whole, settings, backbone).maps(segmenter.vocabulary)
            columns.append(maps[0].float().cpu().numpy())
    return Strip(segmenter.vocabulary.classes, tuple(names), tuple(columns))
