"""The settings of `ca-seg label`, and what follows from them before anything large is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ca_seg.cli.arguments import shipped_config
from ca_seg.confidence.calibration import NEVER, read_calibration, vocabulary_fingerprint
from ca_seg.confidence.measures import AGREEMENT, MEASURES
from ca_seg.confidence.temperature import check_temperature
from ca_seg.data.catalogue import class_words
from ca_seg.data.classes import UNLABELLED
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.errors import UnknownName, UserError
from ca_seg.labelling.label import LabelFormat
from ca_seg.labelling.registry import FORMATS
from ca_seg.predictors.settings import BackboneSettings
from ca_seg.vocabulary import Vocabulary
from ca_seg.vocabulary_file import read_vocabulary

NO_MEASURE = "none"
CONFIDENCE = (*MEASURES, AGREEMENT, NO_MEASURE)


@dataclass
class LabelData:
    """Which images.

    Args:
        name: images, webdataset, coco-json, sem-seg-dicts, or any other name from `ca-seg data list`
        root: the folder, list or shards, for datasets that do not ship
        split: a part of the dataset; None: all of it
        batch_size: images per batch
        num_workers: processes that read images; 0: this one
        limit: only the first images
    """

    name: str = "images"
    root: str | None = None
    split: str | None = None
    batch_size: int = 8
    num_workers: int = 2
    limit: int | None = None


@dataclass(frozen=True)
class ConfidenceConfig:
    """How sure a label must be."""

    measure: str | None  # None: not measured
    temperature: float
    threshold: float | dict[str, float] | None

    def of_classes(self, classes: Sequence[str]) -> float | np.ndarray | None:
        """The threshold as `ignore_below` takes it; a class without one of its own has 0."""
        if not isinstance(self.threshold, dict):
            return self.threshold
        return np.array([self.threshold.get(name, 0.0) for name in classes])


def words(file: str | None, model: BackboneSettings, data: LabelData, dataset: SegmentationDataset) -> Vocabulary:
    """The vocabulary of a file, or the dataset's own classes. Raises UserError where neither says what to look for."""
    if file is not None:
        if model.template != "{}" or model.synonyms:
            raise UserError("words come from a file and from --model", fix=f"write template and synonyms into {file}")
        return read_vocabulary(shipped_config(Path(file)))
    names = dataset.class_list.names
    if names == UNLABELLED.names:
        raise UserError(f"the images of {data.name!r} name no classes", fix="say what to look for: --vocabulary FILE")
    known = class_words(data.name)
    synonyms = known.synonyms | (model.synonyms or {})
    return Vocabulary.from_names(names, synonyms=synonyms, background=known.background, template=model.template)


def confidence_config(
    measure: str | None,
    temperature: float | None,
    threshold: float | dict[str, float] | None,
    calibration: str | None,
    backbone: str,
    words: Vocabulary,
) -> ConfidenceConfig:
    """What is asked of a label's confidence, from the settings or from a calibration. Raises UserError."""
    if calibration is not None:
        if (measure, temperature, threshold) != (None, None, None):
            raise UserError(
                "a calibration and confidence, temperature or threshold are given", allowed="one or the other"
            )
        return _calibrated(Path(calibration), backbone, words)
    measure = measure or "margin"
    if measure not in CONFIDENCE:
        raise UnknownName("measure of confidence", measure, CONFIDENCE)
    temperature = 1.0 if temperature is None else temperature
    check_temperature(temperature)
    _check_threshold(threshold, words.classes)
    if measure == NO_MEASURE and threshold is not None:
        raise UserError("there is a threshold, and no confidence to compare", fix="--confidence margin")
    if measure == AGREEMENT and temperature != 1:
        raise UserError("agreement has no temperature", fix="leave it out, or take another --confidence")
    return ConfidenceConfig(None if measure == NO_MEASURE else measure, temperature, threshold)


def _calibrated(file: Path, backbone: str, words: Vocabulary) -> ConfidenceConfig:
    """What `ca-seg calibrate` found. Raises UserError for a calibration of another backbone or other words."""
    found = read_calibration(file)
    for what, of, own in (
        ("backbone", found.backbone, backbone),
        ("vocabulary", found.vocabulary, vocabulary_fingerprint(words.classes, words.phrases)),
    ):
        if of != own:
            raise UserError(f"{file} was made for the {what} {of!r}, this is {own!r}", fix="calibrate again")
    thresholds = dict(found.thresholds) if isinstance(found.thresholds, Mapping) else found.thresholds
    _check_threshold(thresholds, words.classes)
    return ConfidenceConfig(found.measure, found.temperature, thresholds)


def _check_threshold(threshold: Any, classes: Sequence[str]) -> None:
    each = threshold if isinstance(threshold, dict) else {} if threshold is None else {"every class": threshold}
    for name, value in each.items():
        if isinstance(threshold, dict) and name not in classes:
            raise UnknownName("class in threshold", name, classes)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= NEVER:
            raise UserError(f"the threshold of {name} is {value!r}", allowed=f"0 to {NEVER}")


def formats_of(names: Sequence[str], options: Mapping[str, Mapping[str, Any]]) -> dict[str, LabelFormat]:
    """Formats by name, with options such as {"yolo": {"left_out": ["background"]}}. Raises UserError, UnknownName."""
    if not names:
        raise UserError("no format is given", allowed=", ".join(FORMATS), fix="--formats [png]")
    made: dict[str, LabelFormat] = {}
    for name in names:
        if name not in FORMATS:
            raise UnknownName("format", name, FORMATS)
        if name in made:
            raise UserError(f"the format {name!r} is given twice")
        made[name] = FORMATS[name]
    for name, given in options.items():
        if name not in made:
            raise UnknownName("format in format_options", name, made)
        known = asdict(made[name])  # type: ignore[call-overload]  # every format is a dataclass
        for option, value in given.items():
            if option not in known:
                raise UnknownName(f"option of {name}", option, known)
            kind = type(known[option])
            given_kind = tuple if isinstance(value, list) else type(value)
            if given_kind is not kind:
                raise UserError(f"format_options.{name}.{option} is {value!r}", allowed=f"a {kind.__name__}")
        values = {option: tuple(value) if isinstance(value, list) else value for option, value in given.items()}
        made[name] = replace(made[name], **values)  # type: ignore[type-var]
    return made
