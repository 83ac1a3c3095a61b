"""A labelling run: its images, words, model and files, put together from the settings and checked.

A `Labelling` can be pickled and is the same in every process. Only `task` loads something large: the backbone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ca_seg.backbones.images import WorkingSize
from ca_seg.backbones.loading.card import find_card
from ca_seg.backbones.loading.profiles import cpu_computes_bf16
from ca_seg.data.classes import UNLABELLED
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.errors import UserError
from ca_seg.heads.trained import TrainedHead, load_head
from ca_seg.labelling.confidence import ConfidenceConfig, confidence_config
from ca_seg.labelling.data import UnlabelledImages
from ca_seg.labelling.image_words import ImageWords
from ca_seg.labelling.label_files import LabelFiles
from ca_seg.labelling.registry import formats_named
from ca_seg.labelling.settings import LabelSettings
from ca_seg.labelling.task import PseudoLabel, SaveLabel
from ca_seg.predictors.identity import head_identity, weights_identity
from ca_seg.predictors.settings import MethodSettings
from ca_seg.refine.steps import Refinement, refinement
from ca_seg.resources import shipped_config
from ca_seg.versions import versions
from ca_seg.vocabulary import Vocabulary, Words, as_vocabulary
from ca_seg.vocabulary_file import read_vocabulary


@dataclass(frozen=True)
class Labelling:
    """Everything that the labels depend on, and where they are written."""

    model: MethodSettings
    dataset: SegmentationDataset
    vocabulary: Vocabulary
    confidence: ConfidenceConfig
    refinement: Refinement
    files: LabelFiles
    scores: bool  # a format needs the probabilities of all classes
    head: TrainedHead | None
    image_words: ImageWords | None  # what each image is offered, where the words are those of captions
    unseen: dict[str, str] | None  # phrases that training never taught, with the nearest taught word; None: not known
    seed: int

    @classmethod
    def of(cls, settings: LabelSettings, words: Words | ImageWords | None = None) -> Labelling:
        """Read all that is small and check all settings; nothing is written.

        Args:
            settings: the options of the run
            words: what to look for, in place of `settings.vocabulary`; for each image what its caption names

        Raises:
            UserError: for settings that do not exist, are outside their range, or do not fit each other
        """
        model = settings.model
        head = load_head(model.head, backbone=model.backbone) if model.head else None
        model.check(head)
        dataset = settings.data.open()
        image_words = words if isinstance(words, ImageWords) else None
        vocabulary = _vocabulary(settings, dataset, words) if image_words is None else image_words.vocabulary
        confidence = confidence_config(settings, vocabulary)
        if head is not None:
            head.class_indices(vocabulary.classes)  # raises for a class that the head has not learnt
        unseen = model.check_words(vocabulary.concepts) if head is None else None
        formats = formats_named(settings.formats, settings.format_options)
        refinement(settings.refine, vocabulary.classes)  # raises for a step that does not exist
        files = LabelFiles(
            Path(settings.out),
            vocabulary.classes,
            formats,
            threshold=confidence.thresholds(vocabulary.classes),
            confidence=settings.save_confidence and confidence.measure is not None,
        )
        labelling = cls(
            model,
            dataset,
            vocabulary,
            confidence,
            settings.refine,
            files,
            any(format.needs_scores for format in formats.values()),
            head,
            image_words,
            unseen,
            settings.seed,
        )
        labelling.images({})  # raises for a dataset whose images are not files
        return labelling

    @property
    def full_size(self) -> bool:
        """Whether the predictor gets images in their own size, and not in the backbone's working size."""
        return self.refinement.full_size or self.model.views() is not None or self.head is not None

    @property
    def measured_presence(self) -> dict[str, Any]:
        """How to tell whether words are in an image, as on the backbone's card; empty where it was not measured."""
        return {} if self.head is not None or self.image_words is not None else self.model.measured_presence()

    def images(self, labelled: Mapping[str, str]) -> UnlabelledImages:
        """The images to label.

        Args:
            labelled: images that have labels already: key -> SHA-256 of the image's file
        """
        card = find_card(self.model.backbone)
        working_size = WorkingSize(self.model.resolution or card.resolution, card.multiple)
        return UnlabelledImages(self.dataset, working_size, labelled=labelled, full_size=self.full_size)

    def task(self, device: str, save_label: SaveLabel) -> PseudoLabel:
        """The task that labels batches, its backbone loaded onto a device.

        Raises UserError for weights that cannot be loaded, and for words that the backbone does not know.
        """
        backbone = self.model.load(device)
        backbone.text.concepts(self.vocabulary.concepts, backbone.card.phrase_pooling)
        presence = self.model.presence(backbone, self.vocabulary) if self.measured_presence else None
        words: Sequence[Vocabulary] | None = [self.vocabulary] if presence is None else presence.asked
        if self.image_words is not None:
            words = None  # they differ from image to image
        return PseudoLabel(
            self.model.predictor_of(backbone, self.head, queries=self.refinement.needs_queries, words=words),
            self.vocabulary,
            save_label,
            measure=self.confidence.measure,
            temperature=self.confidence.temperature,
            scores=self.scores,
            refine=refinement(self.refinement, self.vocabulary.classes),
            full_size=self.full_size,
            seed=self.seed,
            presence=presence,
            image_words=self.image_words,
        )

    def depends_on(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """All that the labels depend on beside the images; `settings` are the run's, as plain values."""
        data = settings["data"]
        model = {key: value for key, value in settings["model"].items() if key not in ("template", "synonyms")}
        if model["precision"] is None and find_card(self.model.backbone).bf16_on_cpu:
            model["precision"] = f"by the CPU: {'bf16' if cpu_computes_bf16() else 'fp32'}"
        return {
            "ca_seg": versions()["ca_seg"],
            "model": model,
            "head": None if self.head is None else head_identity(self.head),
            "weights": weights_identity(self.model),
            "vocabulary": dict(zip(self.vocabulary.classes, map(list, self.vocabulary.phrases), strict=True)),
            "refine": settings["refine"],
            "confidence": asdict(self.confidence),
            "presence": self.measured_presence,
            "formats": settings["formats"],
            "format_options": settings["format_options"],
            "save_confidence": settings["save_confidence"],
            "data": {
                "name": data["name"],
                "root": data["root"] and os.path.realpath(data["root"]),
                "split": data["split"],
            },
            "seed": settings["seed"],
        }

    def about(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """For readers of run.json: the classes in their order, where the images are, and all `settings`."""
        background, first_path = self.vocabulary.background, self.dataset.image_path(0)
        first_name = self.dataset.image_ids[0] + first_path.suffix
        return {
            "classes": list(self.vocabulary.classes),
            "phrases": [list(phrases) for phrases in self.vocabulary.phrases],
            "background": None if background is None else self.vocabulary.classes[background],
            "unseen": self.unseen,
            "captioner": None if self.image_words is None else self.model.captioner,
            "formats": settings["formats"],
            "images": {
                **{key: settings["data"][key] for key in ("name", "root", "split")},
                "folder": str(first_path).removesuffix(first_name).rstrip("/"),
                "count": len(self.dataset),
            },
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "versions": versions(),
            "config": dict(settings),
        }


def _vocabulary(settings: LabelSettings, dataset: SegmentationDataset, words: Any) -> Vocabulary:
    """The given words, those of the vocabulary file, or the dataset's own classes."""
    model = settings.model
    if words is not None:
        if model.synonyms:
            raise UserError("words are given, and model.synonyms too", fix="give a dict of class to phrases")
        return as_vocabulary(words, template=model.template)
    if settings.vocabulary is not None:
        file = shipped_config(Path(settings.vocabulary))
        if model.template != "{}" or model.synonyms:
            fix = f"write template and synonyms into {file}"
            raise UserError("a vocabulary file and model.template or model.synonyms are given", fix=fix)
        return read_vocabulary(file)
    classes = dataset.class_list.names
    if classes == UNLABELLED.names:
        raise UserError(f"the images of {settings.data.name!r} name no classes", fix="give words, or a vocabulary file")
    return settings.data.vocabulary(classes, synonyms=model.synonyms, template=model.template, background=True)
