"""Zero-shot evaluation: methods x splits of a dataset, scored under both protocols.

methods   the evaluated one, the same without refinement, those to compare
splits    each a part of the dataset

Every method is opened, scored on every split and released before the next is loaded.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.loading.card import find_card
from ca_seg.concept.choices import ORACLE, PRESENT
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.settings import EvaluationData, data_named
from ca_seg.errors import UserError
from ca_seg.evaluation.expectations import check_expected, check_pairs
from ca_seg.evaluation.gallery import Gallery, evaluation_gallery
from ca_seg.evaluation.predictions import PredictionWriter
from ca_seg.evaluation.progress import Progress
from ca_seg.evaluation.results import EvaluationResults, results_content
from ca_seg.evaluation.run import SplitScores, score
from ca_seg.evaluation.side_by_side import SideBySide
from ca_seg.evaluation.unseen import unseen_figures
from ca_seg.fingerprint import fingerprint
from ca_seg.heads.trained import TrainedHead, load_head
from ca_seg.jobs.arguments import check_folder, checked_settings
from ca_seg.jobs.plain import plain
from ca_seg.jobs.trainer import INFERENCE, new_trainer, seed_all, trainer_options
from ca_seg.jobs.words import check_words
from ca_seg.json_file import write_json
from ca_seg.methods.compared import check_compared, gives_probabilities, open_compared, reads_ground_truth
from ca_seg.methods.method import Method as OpenMethod
from ca_seg.predictors.identity import method_identity
from ca_seg.predictors.predictor import Predictor, Refine
from ca_seg.predictors.registry import METHODS, MethodContext
from ca_seg.predictors.settings import MethodSettings, choose_backbone
from ca_seg.refine.steps import Refinement, refinement

ALL = "all"  # the name of the split where the dataset is scored as a whole
UNREFINED = "without refinement"  # the row of the same method with every refinement step off


@dataclass(frozen=True)
class EvaluationSettings:
    """Options of an evaluation.

    Args:
        model: the evaluated method
        data: the images
        refine: steps between class maps and mask
        unrefined: beside refinement that was asked for, or beside other methods, also score the method without it
        compare: further methods: names from `list_methods()`, and backbones of the zoo
        expect: path/to/figure: [value, tolerance]; the run fails when a figure leaves its tolerance
        save_predictions: write OUT/predictions/PROTOCOL/IMAGE_ID.png
        report: make a page and a picture of the best, middle and worst images; several methods are shown side by side
        seed: of the noise
        out: the folder of results, predictions, page and progress; None: nothing is written
        trainer: arguments of Lightning's Trainer
    """

    model: MethodSettings = field(default_factory=MethodSettings)
    data: EvaluationData = field(default_factory=EvaluationData)
    refine: Refinement = field(default_factory=Refinement)
    unrefined: bool = True
    compare: list[str] = field(default_factory=list)
    expect: dict[str, Any] = field(default_factory=dict)
    save_predictions: bool = False
    report: bool = True
    seed: int = 0
    out: str | None = None
    trainer: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """One row of the results."""

    name: str
    open: Callable[[SegmentationDataset], Predictor]
    per_split: bool = False  # it depends on the dataset, and is opened anew for each split
    refine: Refine | None = None
    calibrated: bool = True  # its maps are probabilities, so that calibration can be measured
    evaluated: bool = False  # its predictions are saved, its images shown


def evaluate(
    backbone: str | Backbone | MethodSettings | None = None,
    data: str | Path | EvaluationData | None = None,
    settings: EvaluationSettings | None = None,
    *,
    head: str | Path | TrainedHead | None = None,
    methods: Sequence[OpenMethod] = (),
    device: str | None = None,
    out: str | Path | None = None,
    announce: Callable[[str], None] = lambda text: None,
) -> EvaluationResults:
    """Score a method on a dataset, zero-shot or through a trained head.

    Two protocols are scored in one run: `oracle-presence` offers each image only the classes that it shows, as every
    published figure of a diffusion transformer does; `full-vocabulary` offers all classes of the dataset.

    Args:
        backbone: a name of the zoo, a loaded backbone, or settings; in place of `settings.model`
        data: a dataset's name, a folder with images/, masks/ and classes.json, or settings; in place of `settings.data`
        settings: all other options
        head: score a trained head in place of the zero-shot maps: the head, or where it is, as for `load_head`
        methods: further methods that are open already (`ca_seg.method`), scored beside those of `settings.compare`
        device: cpu, cuda, cuda:1 or mps; in place of the trainer's accelerator
        out: a folder to write to, in place of `settings.out`; an interrupted run continues from what is in it
        announce: called with a line when a method starts on a split

    Returns:
        The results; in several processes the content of all but the first is empty.

    Raises:
        UserError: for settings, data or weights that cannot be used

    Example:
        >>> results = ca_seg.evaluate("mini", "scenes")
        >>> results.metrics["full-vocabulary"]["miou"]
    """
    settings = checked_settings(settings, EvaluationSettings(report=False))
    model, loaded = choose_backbone(settings.model, backbone, head)
    trained = head if isinstance(head, TrainedHead) else None
    if head is not None and trained is None:
        model = replace(model, head=str(head))
    if data is not None:
        settings = replace(settings, data=data_named(data, EvaluationData))
    folder = settings.out if out is None else str(out)
    settings = replace(settings, model=model, trainer=settings.trainer | trainer_options(device), out=folder)
    return _evaluate(settings, loaded, trained, methods, announce)


def _evaluate(
    settings: EvaluationSettings,
    loaded: Backbone | None,
    head: TrainedHead | None,
    ready: Sequence[OpenMethod],
    announce: Callable[[str], None],
) -> EvaluationResults:
    start, model = time.monotonic(), settings.model
    folder = None if settings.out is None else Path(settings.out)
    find_card(model.backbone)
    refine = settings.refine.of_backbone(model.backbone, head=head is not None or model.head is not None)
    beside = settings.refine.steps is not None or bool(settings.compare) or bool(ready)
    settings = replace(settings, refine=refine, unrefined=settings.unrefined and beside)
    if head is None and model.head is not None:
        head = load_head(model.head, backbone=model.backbone)
    model.check(head)
    check_pairs(settings.expect)
    check_folder(folder)
    if settings.save_predictions and folder is None:
        raise UserError("predictions are to be saved, and there is no folder", fix="give out")
    seed_all(settings.seed)
    trainer = new_trainer(settings.trainer, **INFERENCE)
    data = {split or ALL: settings.data.module(split) for split in settings.data.parts()}
    first_split = next(iter(data.values()))
    classes = first_split.class_list.names
    if head is not None:
        head.class_indices(classes)  # an unknown class ends the run before anything is computed
    vocabulary = settings.data.vocabulary(classes, synonyms=model.synonyms, template=model.template)
    unseen = None
    if head is None:
        unseen = check_words(model, vocabulary.concepts, loaded, warn=trainer.is_global_zero, ground_truth=True)
    check_compared(settings.compare, vocabulary)
    for opened in ready:
        opened.predictor.check_words(vocabulary)
    device = str(trainer.strategy.root_device)
    writer = None
    if settings.save_predictions and folder is not None:
        writer = PredictionWriter(folder / "predictions", first_split.class_list)

    scores: dict[str, dict[str, SplitScores]] = {}
    readouts: dict[str, Any] = {}
    gallery: Gallery | None = None
    settings_name = "" if folder is None else _settings_name(settings, ready, method_identity(model, head, loaded))
    methods = list(_methods(settings, head, loaded, ready, classes, device))
    _check_distinct(methods)
    sides = None
    if settings.report and len(methods) > 1 and trainer.is_global_zero:
        sides = SideBySide(first_split, settings.seed, device)
    for method in methods:
        scores[method.name], predictor = {}, None
        for split, part in data.items():
            announce(f"{method.name} on {split}")
            if predictor is None or method.per_split:
                predictor = method.open(part.dataset(part.split))
            progress = None
            if folder is not None:
                file = f"{method.name}-{split}-{trainer.global_rank}.safetensors"
                progress = Progress(folder / "progress" / file, settings_name, part.dataset(part.split))
            scores[method.name][split] = score(
                trainer,
                predictor,
                part,
                seed=settings.seed,
                synonyms=settings.data.synonyms(model.synonyms),
                template=model.template,
                refine=method.refine,
                calibrated=method.calibrated,
                progress=progress,
                save_mask=writer if method.evaluated else None,
            )
            if sides is not None and part is first_split:
                sides.add(method.name, scores[method.name][split].task, predictor)
        assert predictor is not None
        if predictor.settings():
            steps = {"refine": settings.refine.steps} if method.evaluated else {}
            readouts[method.name] = predictor.settings() | steps
        if method.evaluated and settings.report and trainer.is_global_zero:
            gallery = evaluation_gallery(scores[method.name], data, predictor, settings.seed, device)
        predictor = None  # before the next is loaded
    complete = all(split.complete for by_split in scores.values() for split in by_split.values())
    if not trainer.is_global_zero:
        return EvaluationResults({}, complete)
    seconds = time.monotonic() - start
    dataset = first_split.dataset(first_split.split)
    content = results_content(methods[0].name, dataset, settings.data.name, scores, readouts, plain(settings), seconds)
    content["unseen"] = None if unseen is None else unseen_figures(vocabulary, unseen, scores)
    if gallery is not None and sides is not None:
        gallery = replace(gallery, sections=(sides.section(), *gallery.sections))
    return _finished(EvaluationResults(content, complete, gallery), settings, folder)


def _check_distinct(methods: Sequence[Method]) -> None:
    """Raises UserError for a method that is compared with itself."""
    names = [method.name for method in methods]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"compare names {name!r}, which is scored already", fix="remove it")


def _finished(results: EvaluationResults, settings: EvaluationSettings, folder: Path | None) -> EvaluationResults:
    """Written, then compared with what is expected: a wrong expectation must not cost hours of results."""
    if folder is not None:
        write_json(folder / "results.json", results.content)
    if settings.data.limit is None:
        results.content["expect"] = check_expected(settings.expect, results.content)
    if folder is not None:
        results.save(folder)
        shutil.rmtree(folder / "progress", ignore_errors=True)
    return results


def _methods(
    settings: EvaluationSettings,
    head: TrainedHead | None,
    loaded: Backbone | None,
    ready: Sequence[OpenMethod],
    classes: tuple[str, ...],
    device: str,
) -> Iterator[Method]:
    """The rows of the results, the evaluated method first."""
    model, refine = settings.model, refinement(settings.refine, classes)
    queries = settings.refine.needs_queries

    def evaluated(dataset: SegmentationDataset) -> Predictor:
        return model.predictor_of(model.load(device, loaded), head, queries=queries, classes=classes)

    def compared(name: str) -> Callable[[SegmentationDataset], Predictor]:
        if name == model.backbone:  # its zero-shot maps, beside those of a head
            return lambda dataset: model.predictor(model.load(device), queries=queries, classes=classes)
        return lambda dataset: open_compared(name, MethodContext(model, dataset, device), loaded)

    probabilities = model.softmax if head is None else head.readout.get("softmax", True)
    calibrated = probabilities and settings.refine.keeps_probabilities
    oracle = ORACLE if model.prompt == PRESENT else ""
    name = model.backbone + (oracle if head is None else f" + {head.kind}")
    yield Method(name, evaluated, refine=refine, calibrated=calibrated, evaluated=True)
    if refine is not None and settings.unrefined:
        yield Method(UNREFINED, evaluated, calibrated=probabilities)
    for name in settings.compare:
        per_split = name in METHODS and METHODS[name].uses_dataset
        probabilities = model.softmax if name == model.backbone else gives_probabilities(name)
        oracle = ORACLE if reads_ground_truth(name, model) else ""
        yield Method(name + oracle, compared(name), per_split, calibrated=probabilities)
    for opened in ready:
        yield Method(opened.name, partial(_predictor, opened), calibrated=opened.card.probabilities)


def _predictor(opened: OpenMethod, dataset: SegmentationDataset) -> Predictor:
    return opened.predictor


def _settings_name(settings: EvaluationSettings, ready: Sequence[OpenMethod], method: dict[str, Any]) -> str:
    """A short name for what figures depend on beside the images: not where results go and what is reported."""
    unrelated = ("out", "report", "expect", "trainer")
    relevant: dict[str, Any] = {name: value for name, value in plain(settings).items() if name not in unrelated}
    relevant["method"] = method
    relevant["methods"] = {opened.name: opened.predictor.settings() for opened in ready}
    return fingerprint(relevant, digits=16)
