"""Words and a photograph to a segmentation, from a kept recording where there is one.

A recording has all layers of the backbone. Any words, and any layers, spaces, readers, refinements and thresholds, are
then read from it; another timestep needs another pass. The masks are those of `ca_seg.segment` to the last bit.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.readout import Readout, ReadoutConfig
from ca_seg.concept.choices import MEAN, QUERY_READERS
from ca_seg.concept.frequency import of_chosen_timestep
from ca_seg.concept.recording import Recording
from ca_seg.data.seeds import image_seed
from ca_seg.errors import OutOfRange, UserError
from ca_seg.jobs.segmentation import Segmentation
from ca_seg.jobs.segmenter import Segmenter, SegmentSettings
from ca_seg.viewer.backbones import Backbones, key_of
from ca_seg.viewer.picture import Picture
from ca_seg.viewer.recordings import RecordingKey
from ca_seg.viewer.session import Session


@dataclass(frozen=True, eq=False)
class Answer:
    """A segmentation, and what it took.

    Args:
        segmentation: as `ca_seg.segment` gives it
        settings: with which it was made
        words: that were asked
        picture: the photograph
        record_seconds: of the pass of the photograph; 0 where it was recorded before
        ask_seconds: of everything after the pass: words, maps, refinement and mask
        kept: whether the next words follow without another pass
    """

    segmentation: Segmentation
    settings: SegmentSettings
    words: tuple[str, ...]
    picture: Picture
    record_seconds: float
    ask_seconds: float
    kept: bool


def is_kept(settings: SegmentSettings) -> bool:
    """Whether other words can be asked of the same recording: not with a prompt of the words, nor with windows."""
    return not settings.records_words and settings.views() is None


def answer(
    session: Session, backbones: Backbones, picture: Picture, words: Sequence[str], settings: SegmentSettings
) -> Answer:
    """Segment a photograph by words.

    Args:
        session: where recordings are kept
        backbones: the loaded ones
        picture: the photograph
        words: to look for
        settings: all options of `segment`

    Raises:
        UserError: for words and options that cannot be used
    """
    if not words:
        raise UserError("no word was given", fix="type what to look for, such as: cat, grass, sky")
    with backbones.computing:
        backbone = backbones.get(settings)
        check_layers(settings, backbone)
        started = time.perf_counter()
        segmenter = Segmenter(list(words), settings, backbone=backbone, warn=False)
        seconds, recorded = 0.0, False
        if is_kept(settings):
            before = time.perf_counter()
            whole, recorded = recording_of(session, backbone, picture, settings)
            seconds = time.perf_counter() - before if recorded else 0.0
            segmentation = segmenter.segmentation(picture.image, read_with(whole, settings, backbone))
        else:
            segmentation = segmenter(picture.image)
        _ = segmentation.mask  # computed here, so that it is within the time
    total = time.perf_counter() - started
    return Answer(segmentation, settings, tuple(words), picture, seconds, total - seconds, is_kept(settings))


def recording_of(
    session: Session, backbone: Backbone, picture: Picture, settings: SegmentSettings
) -> tuple[Readout, bool]:
    """The recording of all layers, and whether it was made now."""
    queries = needs_queries(settings)
    key = RecordingKey(
        picture.key,
        key_of(settings),
        settings.timesteps,
        settings.noise_samples,
        settings.flip,
        settings.prompt,
        settings.prompt_captioner,
        settings.seed,
        queries,
    )
    for candidate in (key, replace(key, queries=True)):
        kept = session.recordings.get(candidate)
        if kept is not None:
            return kept, False
    every = replace(settings, layers=tuple(range(backbone.layers)), layer_weights=None, timestep_choice=MEAN)
    seed = image_seed(settings.seed, picture.image.image_id)
    readout = every.record(backbone, picture.image.pixels[None], [seed], queries=queries)
    session.recordings.put(key, readout)
    return readout, True


def read_with(whole: Readout, settings: ReadoutConfig, backbone: Backbone) -> Readout:
    """The recording of all layers, read with these settings; tensors are not copied."""
    layers = tuple(settings.layers or backbone.card.layers)

    def up_to_last(recording: Recording) -> Recording:
        of_layers = replace(recording, layers=layers, streams=recording.streams[: max(layers) + 1])
        return of_chosen_timestep(of_layers, settings.timestep_choice, settings.timesteps)

    space = settings.space or backbone.card.space
    flipped = whole.flipped
    if flipped is not None:
        flipped = Readout(up_to_last(flipped.recording), replace(settings, flip=False), space)
    return Readout(up_to_last(whole.recording), settings, space, flipped)


def needs_queries(settings: SegmentSettings) -> bool:
    """Whether maps, or their refinement, read the queries of the image."""
    by_steps = settings.refinement_steps().needs_queries
    return by_steps or settings.image_output != "stock" or settings.reader in QUERY_READERS


def check_layers(settings: SegmentSettings, backbone: Backbone) -> None:
    """Raises OutOfRange for a layer that is not loaded."""
    for layer in settings.layers or ():
        if not 0 <= layer < backbone.layers:
            raise OutOfRange(f"layer {layer} of {backbone.card.name}", allowed=f"0 to {backbone.layers - 1}")
