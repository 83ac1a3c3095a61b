"""What one labelling run is: its images, words, model and files, put together from the settings and checked.

A `Labelling` can be pickled, and says in every process the same; what is large is loaded by `task` alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.images import WorkingSize
from ca_seg.backbones.loading.card import find_card
from ca_seg.cli.arguments import Parsed
from ca_seg.confidence.measures import AGREEMENT
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.errors import UserError
from ca_seg.features.frozen import weights_digest
from ca_seg.heads.trained import TrainedHead, load_head
from ca_seg.labelling.data import ToLabel
from ca_seg.labelling.label_files import LabelFiles
from ca_seg.labelling.settings import ConfidenceConfig, confidence_config, formats_of, words
from ca_seg.labelling.task import PseudoLabel, SaveLabel
from ca_seg.predictors.predictor import Predictor
from ca_seg.predictors.settings import MethodSettings
from ca_seg.refine.steps import Refinement, refinement
from ca_seg.versions import versions
from ca_seg.vocabulary import Vocabulary


@dataclass(frozen=True)
class Labelling:
    """Everything that the labels depend on, and where they go."""

    model: MethodSettings
    dataset: SegmentationDataset
    vocabulary: Vocabulary
    sure: ConfidenceConfig
    refinement: Refinement
    files: LabelFiles
    scores: bool  # a format wants the shares of all classes
    head: TrainedHead | None
    seed: int

    @classmethod
    def of(cls, settings: Any) -> Labelling:
        """From the settings of `ca-seg label`. Raises UserError for those that do not fit."""
        model: MethodSettings = settings.model
        model.check()
        dataset = open_dataset(settings.data.name, settings.data.root, settings.data.split)
        dataset = dataset if settings.data.limit is None else dataset.first(settings.data.limit)
        vocabulary = words(settings.vocabulary, model, settings.data, dataset)
        given = (settings.confidence, settings.temperature, settings.threshold, settings.calibration)
        sure = confidence_config(*given, model.backbone, vocabulary)
        _check_reading(model, sure)
        head = load_head(model.head, backbone=model.backbone) if model.head else None
        if head is not None:
            head.class_indices(vocabulary.classes)
        formats = formats_of(settings.formats, settings.format_options)
        refinement(settings.refine, vocabulary.classes)
        files = LabelFiles(
            Path(settings.out),
            vocabulary.classes,
            formats,
            threshold=sure.of_classes(vocabulary.classes),
            confidence=settings.save_confidence and sure.measure is not None,
        )
        made = cls(
            model,
            dataset,
            vocabulary,
            sure,
            settings.refine,
            files,
            any(format.needs_scores for format in formats.values()),
            head,
            settings.seed,
        )
        made.images({})  # images that are no files are refused before anything is written
        return made

    @property
    def whole(self) -> bool:
        """Whether images stay in their own size on the way."""
        return self.refinement.full_size or self.model.views() is not None or self.head is not None

    def images(self, done: dict[str, str]) -> ToLabel:
        """The images, of which `done` (key -> SHA-256) have labels."""
        card = find_card(self.model.backbone)
        working = WorkingSize(self.model.resolution or card.resolution, card.multiple)
        return ToLabel(self.dataset, working, done=done, whole=self.whole)

    def task(self, device: str, keep: SaveLabel) -> PseudoLabel:
        """Load the backbone onto a device. Raises UserError, also for words that it lacks."""
        backbone = self.model.load(device)
        backbone.text.concepts(self.vocabulary.concepts, backbone.card.phrase_pooling)
        return PseudoLabel(
            self._predictor(backbone),
            self.vocabulary,
            keep,
            measure=self.sure.measure,
            temperature=self.sure.temperature,
            scores=self.scores,
            refine=refinement(self.refinement, self.vocabulary.classes),
            whole=self.whole,
            seed=self.seed,
        )

    def depends_on(self, given: dict[str, Any]) -> dict[str, Any]:
        """All that the labels depend on beside the images; `given` are the settings as plain values."""
        model = {key: value for key, value in given["model"].items() if key not in ("template", "synonyms")}
        data = given["data"]
        return {
            "ca_seg": versions()["ca_seg"],
            "model": model,
            "head": None if self.head is None else weights_digest(self.head),
            "vocabulary": dict(zip(self.vocabulary.classes, map(list, self.vocabulary.phrases), strict=True)),
            "refine": given["refine"],
            "certainty": asdict(self.sure),
            "formats": given["formats"],
            "format_options": given["format_options"],
            "save_confidence": given["save_confidence"],
            "data": {"name": data["name"], "root": data["root"], "split": data["split"]},
            "seed": given["seed"],
        }

    def about(self, parsed: Parsed) -> dict[str, Any]:
        """For readers of run.json: the classes in their order, and where the images lie."""
        dataset, background = self.dataset, self.vocabulary.background
        name = dataset.image_ids[0] + dataset.image_path(0).suffix
        return {
            "classes": list(self.vocabulary.classes),
            "phrases": [list(own) for own in self.vocabulary.phrases],
            "background": None if background is None else self.vocabulary.classes[background],
            "formats": parsed.given["formats"],
            "images": {
                **{key: parsed.given["data"][key] for key in ("name", "root", "split")},
                "folder": str(dataset.image_path(0)).removesuffix(name).rstrip("/"),
                "count": len(dataset),
            },
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "versions": versions(),
            "config": parsed.given,
        }

    def _predictor(self, backbone: Backbone) -> Predictor:
        """What gives the class maps: the zero-shot maps of a backbone, or a head trained on it."""
        return self.model.predictor_of(backbone, self.head, queries="attention" in self.refinement.steps)


def _check_reading(model: MethodSettings, sure: ConfidenceConfig) -> None:
    """Raises UserError for maps that the confidence cannot be read from."""
    if sure.measure is not None and not model.softmax:
        raise UserError("raw products have no confidence", fix="--model.softmax true, or --confidence none")
    if sure.measure != AGREEMENT:
        return
    if model.head:
        raise UserError("a head has no draws that could agree", fix="take another --confidence")
    if model.views() is not None:
        raise UserError("windows and scales have no draws that could agree", fix="take another --confidence")
    card = find_card(model.backbone)
    if (model.noise_samples or card.noise_samples) * len(model.timesteps or [card.timestep]) < 2:
        raise UserError(
            "one draw agrees with itself", fix='--model.noise_samples 4, or --model.timesteps "[0.1, 0.2, 0.3]"'
        )
