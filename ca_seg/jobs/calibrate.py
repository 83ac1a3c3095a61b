"""Fitting confidence on images with masks: the temperature and the thresholds that give a wanted precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from PIL.Image import Image

from ca_seg.atomic import atomic_write
from ca_seg.backbones.backbone import Backbone
from ca_seg.confidence.calibration import (
    SCHEMA,
    Calibration,
    read_calibration,
    vocabulary_fingerprint,
    write_calibration,
)
from ca_seg.confidence.fit import FittedConfidence, TargetPrecision, fit_confidence
from ca_seg.confidence.pixel_sample import LabelledMapsReader, PixelSample
from ca_seg.data.settings import EvaluationData, data_named
from ca_seg.errors import OutOfRange, UserError
from ca_seg.jobs.arguments import check_file, checked_settings
from ca_seg.jobs.trainer import quiet_lightning, seed_all
from ca_seg.jobs.words import check_words
from ca_seg.predictors.settings import BackboneSettings, choose_backbone
from ca_seg.refine.steps import Refinement, refinement
from ca_seg.versions import versions
from ca_seg.visual.plots import coverage_plot


@dataclass(frozen=True)
class CalibrationSettings:
    """Options of a calibration.

    Args:
        model: the backbone, read out as for labelling
        data: images with masks, one split
        refine: steps between class maps and mask, as for labelling
        precision: wanted fraction of correct pixels among those that keep their label
        measure: margin, entropy or max_probability
        per_class: fit one threshold per class
        min_pixels: pixels of the sample that a threshold must retain
        pixels: the most pixels that the fit looks at
        device: cpu, cuda, cuda:1 or mps
        seed: of the noise and of the choice of pixels
        out: the file to write, with a plot (.png) beside it; None: nothing is written
    """

    model: BackboneSettings = field(default_factory=BackboneSettings)
    data: EvaluationData = field(default_factory=EvaluationData)
    refine: Refinement = field(default_factory=Refinement)
    precision: float = 0.95
    measure: str = "margin"
    per_class: bool = False
    min_pixels: int = 100
    pixels: int = 100_000
    device: str = "cpu"
    seed: int = 0
    out: str | None = None

    @property
    def target(self) -> TargetPrecision:
        """The wanted precision. Raises OutOfRange, UnknownName."""
        return TargetPrecision(self.precision, self.measure, self.per_class, self.min_pixels)


@dataclass(frozen=True)
class CalibrationResult:
    """A fitted confidence.

    Args:
        fitted: temperature, thresholds, and figures on the sample
        target: the wanted precision
        images: images of the sample
        skipped: (path, reason) of images that could not be used
        content: what `save` writes
    """

    fitted: FittedConfidence
    target: TargetPrecision
    images: int
    skipped: tuple[tuple[str, str], ...]
    content: dict[str, Any]

    @property
    def calibration(self) -> Calibration:
        """As `read_calibration` gives it back from the file."""
        return Calibration(
            self.fitted.temperature,
            self.target.measure,
            self.fitted.thresholds,
            self.content["backbone"],
            self.content["vocabulary"],
            self.content["figures"],
            self.content["words"],
            self.content["readout"],
        )

    def plot(self) -> Image:
        """Precision against coverage, before and after the temperature."""
        curves = {
            "T = 1": self.fitted.curves["before"],
            f"T = {self.fitted.temperature:.3g}": self.fitted.curves["after"],
        }
        lines = {name: [(coverage, precision) for _, precision, coverage in curve] for name, curve in curves.items()}
        return coverage_plot(lines, target=self.target.precision)

    def save(self, path: str | Path) -> None:
        """Write the file that labelling takes, and the plot beside it. Raises UserError."""
        with atomic_write(Path(path).with_suffix(".png")) as part:
            self.plot().save(part, format="PNG")
        write_calibration(path, self.content)


def calibrate(
    backbone: str | Backbone | BackboneSettings | None = None,
    data: str | Path | EvaluationData | None = None,
    settings: CalibrationSettings | None = None,
    *,
    precision: float | None = None,
    device: str | None = None,
    out: str | Path | None = None,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> CalibrationResult:
    """Fit the confidence of labels on images with masks.

    Args:
        backbone: a name of the zoo, a loaded backbone, or settings; in place of `settings.model`
        data: a dataset's name, a folder with images/, masks/ and classes.json, or settings; in place of `settings.data`
        settings: all other options
        precision: in place of `settings.precision`
        device: in place of `settings.device`
        out: in place of `settings.out`
        progress: is given the batches and passes them on, as a progress bar does

    Returns:
        Temperature, thresholds and figures.

    Raises:
        UserError: for settings, data or weights that cannot be used
        OutOfRange: when no threshold gives the precision

    Example:
        >>> result = ca_seg.calibrate("mini", "scenes", precision=0.95)
        >>> result.fitted.temperature
    """
    settings = checked_settings(settings, CalibrationSettings())
    model, loaded = choose_backbone(settings.model, backbone)
    if data is not None:
        settings = replace(settings, data=data_named(data, EvaluationData))
    settings = replace(
        settings,
        model=model,
        precision=settings.precision if precision is None else precision,
        device=settings.device if device is None else device,
        out=settings.out if out is None else str(out),
    )
    if settings.out is not None:
        check_file(settings.out)
        _check_replaced(Path(settings.out))
    result = _calibrate(settings, loaded, progress)
    if settings.out is not None:
        result.save(settings.out)
    return result


def _check_replaced(out: Path) -> None:
    """Raises UserError where the file, or the plot beside it, is something else than an earlier calibration."""
    plot = out.with_suffix(".png")
    if out == plot:
        raise UserError(f"{out} is the name of the plot", allowed="a name that ends in .json")
    if out.exists():
        read_calibration(out)
    elif plot.exists():
        raise UserError(
            f"{plot} is there, and no calibration beside it", fix="give another out: its plot would be there"
        )


def _calibrate(
    settings: CalibrationSettings, loaded: Backbone | None, progress: Callable[[Iterable[Any]], Iterable[Any]]
) -> CalibrationResult:
    target, model, split = settings.target, settings.model, _split(settings.data)
    if settings.pixels < 1:
        raise OutOfRange(f"a sample of {settings.pixels} pixels", allowed="1 or more")
    if not model.softmax:
        raise UserError("without softmax the maps are not probabilities", fix="set model.softmax to true")
    quiet_lightning()
    seed_all(settings.seed)
    module = settings.data.module(split)
    dataset = module.dataset(module.split)
    classes = dataset.class_list.names
    vocabulary = settings.data.vocabulary(classes, synonyms=model.synonyms, template=model.template)
    check_words(model, vocabulary.concepts, loaded)
    steps = settings.refine.of_backbone(model.backbone)
    refine = refinement(steps, classes)
    backbone = model.load(settings.device, loaded)
    predictor = model.predictor(backbone, queries=steps.needs_queries, words=[vocabulary])
    reader = LabelledMapsReader(predictor, vocabulary, refine=refine, seed=settings.seed)
    sample = PixelSample(len(classes), len(dataset), settings.pixels, settings.seed)
    for labelled in reader.read(progress(module.test_dataloader()), settings.device):
        sample.add(labelled)
    if not sample.images:
        raise UserError("no image of the sample can be used", fix=reader.skipped[0][1] if reader.skipped else "")
    fitted = fit_confidence(sample.probabilities, sample.ground_truth, classes, target)
    content = {
        "schema": SCHEMA,
        "temperature": fitted.temperature,
        "measure": target.measure,
        "thresholds" if target.per_class else "threshold": fitted.thresholds,
        "never": fitted.never,
        "backbone": model.backbone,
        "words": dict(zip(vocabulary.classes, map(list, vocabulary.phrases), strict=True)),
        "vocabulary": vocabulary_fingerprint(vocabulary.classes, vocabulary.phrases),
        "readout": predictor.settings() | model.reading(loaded) | steps.resolved(),
        "figures": fitted.figures | {"images": sample.images},
        "curve": {
            when: [dict(zip(("threshold", "precision", "coverage"), point, strict=True)) for point in points]
            for when, points in fitted.curves.items()
        },
        "dataset": {"name": settings.data.name, "split": module.split, "fingerprint": dataset.fingerprint()},
        "skipped": [list(pair) for pair in reader.skipped],
        "seed": settings.seed,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
    }
    return CalibrationResult(fitted, target, sample.images, tuple(reader.skipped), content)


def _split(data: EvaluationData) -> str | None:
    parts = data.parts()
    if len(parts) > 1:
        raise UserError(f"{len(parts)} splits ({', '.join(map(str, parts))})", allowed="one", fix="give data.split")
    return parts[0]
