"""Label the images of a whole dataset: masks, confidence maps and a manifest, in one or several formats.

settings ──► Labelling ──┬──► Lightning: this process, or several ──┬──► files of the dataset, manifest, summary
                         └──► Ray Data: with ray.actors             ──┘
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from ca_seg.backbones.backbone import Backbone
from ca_seg.captioner import check_captioner
from ca_seg.data.catalogue import DATASETS
from ca_seg.data.settings import DataSettings
from ca_seg.errors import UserError, WordsWarning, close_matches
from ca_seg.jobs.arguments import check_folder, check_path, checked_settings
from ca_seg.jobs.plain import plain
from ca_seg.jobs.segmenter import default_device
from ca_seg.jobs.trainer import INFERENCE, new_trainer, seed_all, trainer_options
from ca_seg.jobs.words import warn_of_absent_words, warn_of_unseen_words
from ca_seg.json_file import write_json
from ca_seg.labelling.background_writer import BackgroundWriter
from ca_seg.labelling.captions import dataset_captions
from ca_seg.labelling.image_words import ImageWords
from ca_seg.labelling.lightning import label_by_lightning, patient
from ca_seg.labelling.manifest import read_entries
from ca_seg.labelling.output import MAX_CLASSES
from ca_seg.labelling.ray import label_by_ray
from ca_seg.labelling.run import Labelling
from ca_seg.labelling.run_folder import RunFolder
from ca_seg.labelling.run_reader import LabelRun
from ca_seg.labelling.settings import LabelData, LabelSettings
from ca_seg.labelling.summary import summarise
from ca_seg.output_files import check_apart
from ca_seg.predictors.settings import MethodSettings, choose_backbone
from ca_seg.thread_pool import threads_beside
from ca_seg.vocabulary import BACKGROUND, Words, is_auto

__all__ = ["LabelResults", "LabelSettings", "label"]

VOCABULARY_FILES = (".yaml", ".yml")


@dataclass(frozen=True)
class LabelResults:
    """What a labelling run did."""

    folder: Path
    labelled: int  # images that this run labelled; those before it are in the summary
    skipped: list[tuple[str, str]]  # (image, reason) of the images without a label
    summary: Mapping[str, Any] = field(default_factory=dict)  # summary.json; empty in all processes but the first

    @property
    def complete(self) -> bool:
        """Whether every image has a label, from this run or one before."""
        return not self.skipped and not self.missing

    @property
    def missing(self) -> int:
        """Images that the run did not come to: the trainer's limit_predict_batches or fast_dev_run left them out."""
        return self.summary.get("missing", 0)

    def open(self) -> LabelRun:
        """The masks, confidence maps and manifest of the folder."""
        return LabelRun.open(self.folder)


def label(
    images: str | Path | DataSettings | None = None,
    classes: Words | Path | None = None,
    settings: LabelSettings | None = None,
    *,
    backbone: str | MethodSettings | None = None,
    out: str | Path | None = None,
    formats: Sequence[str] | None = None,
    device: str | None = None,
) -> LabelResults:
    """Label images that have no masks.

    A run that was stopped, even by a kill, resumes when the function is called again with the same settings. Its files
    are then byte-identical to those of an uninterrupted run. Images that changed are labelled again.

    Args:
        images: a folder, a list file, a dataset's name or settings; in place of `settings.data`
        classes: a word, a list of words, a dict of class to phrases, a vocabulary, or a YAML file of a vocabulary; in
            place of `settings.vocabulary`. By default the dataset's own classes. "auto": the words of each image's
            caption, by the captioner in `settings.model`
        settings: all other options
        backbone: a name of the zoo or settings; in place of `settings.model`. A loaded backbone cannot be given, for
            other processes load their own
        out: the folder of the labels, in place of `settings.out`
        formats: names from `list_formats`, in place of `settings.formats`
        device: cpu, cuda, cuda:1 or mps; in place of the trainer's accelerator

    Returns:
        How many images were labelled, which were skipped and why, and the folder.

    Raises:
        UserError: for settings, images or weights that cannot be used, and a folder that holds something else

    Example:
        >>> results = ca_seg.label("photos/", ["cat", "grass"], out="labels", formats=["png", "coco"])
        >>> for entry in results.open().entries():
        ...     print(entry.image, entry.area)
    """
    # without worker processes: in a script, they would need `if __name__ == "__main__"`
    settings = checked_settings(settings, LabelSettings(data=LabelData(num_workers=0)))
    if images is not None:
        settings = replace(settings, data=_data(images, settings.data))
    words = None
    if isinstance(classes, Path) or (isinstance(classes, str) and classes.endswith(VOCABULARY_FILES)):
        settings = replace(settings, vocabulary=str(classes))
    else:
        words = classes
    if isinstance(backbone, Backbone):
        raise UserError(
            "label was given a loaded backbone", allowed="a name of the zoo, or MethodSettings", fix="give its name"
        )
    settings = replace(settings, model=choose_backbone(settings.model, backbone)[0])
    if out is not None:
        settings = replace(settings, out=str(out))
    if formats is not None:
        settings = replace(settings, formats=[formats] if isinstance(formats, str) else list(formats))
    return _label(replace(settings, trainer=settings.trainer | trainer_options(device)), words)


def _data(images: str | Path | DataSettings, data: LabelData) -> LabelData:
    """The settings for a folder, a list file or a dataset; batch size and workers are those of `data`."""
    if isinstance(images, LabelData):
        return images
    if isinstance(images, DataSettings):
        return LabelData(**{f.name: getattr(images, f.name) for f in fields(LabelData)})
    if isinstance(images, str) and images in DATASETS and images != LabelData.FOLDER:
        return replace(data, name=images, root=None)
    check_path("images", images)
    if not Path(images).exists():
        near = ", ".join(close_matches(str(images), DATASETS))
        raise UserError(f"{str(images)!r} is not a folder, a list file or a dataset", allowed=near)
    return replace(data, name=LabelData.FOLDER, root=str(images))


def _label(settings: LabelSettings, words: Words | None) -> LabelResults:
    start = time.monotonic()
    settings.ray.check()
    check_folder(settings.out)
    if settings.data.name == LabelData.FOLDER and settings.data.root and Path(settings.data.root).is_dir():
        check_apart(Path(settings.out), Path(settings.data.root))
    by_ray = settings.ray.actors > 0
    if by_ray:
        _check_ray(settings)
    refine = settings.refine.of_backbone(settings.model.backbone, head=settings.model.head is not None)
    settings = replace(settings, refine=refine)
    labelling = Labelling.of(settings, _caption_words(settings, words))
    seed_all(settings.seed)
    trainer = None if by_ray else new_trainer(patient(settings.trainer), **INFERENCE)
    writer = None if trainer is None else _writer(labelling, trainer, settings.writers)
    is_first = trainer is None or trainer.is_global_zero
    values = plain(settings)
    folder = RunFolder(Path(settings.out), labelling.depends_on(values))
    if is_first:
        warn_of_unseen_words(settings.model.backbone, labelling.unseen)
    lock = folder.begin(labelling.about(values)) if is_first else None
    try:
        if trainer is None or writer is None:
            labelled, skipped = label_by_ray(labelling, folder, settings.ray, settings.data.batch_size)
        else:
            labelled, skipped = label_by_lightning(labelling, folder, trainer, writer, settings.data)
        if not is_first:
            return LabelResults(folder.out, labelled, skipped)
        labelling.files.assemble()
        manifest, classes, seconds = folder.finish(), labelling.vocabulary.classes, time.monotonic() - start
        summary = summarise(
            manifest,
            classes,
            labelled=labelled,
            skipped=skipped,
            missing=_missing(labelling, manifest, skipped),
            seconds=seconds,
            unseen=labelling.unseen,
            presence=labelling.measured_presence.get("threshold"),
        )
        warn_of_absent_words(settings.model.backbone, summary["images_without_words"] or [])
        write_json(folder.out / "summary.json", summary)
        return LabelResults(folder.out, labelled, skipped, summary)
    finally:
        if lock is not None:
            lock.release()


def _caption_words(settings: LabelSettings, words: Words | None) -> Words | ImageWords | None:
    """The words; where they are auto, those of the captions of all images. All else is checked before it is captioned.

    Raises UserError for options that need the classes beforehand, and what captions raise.
    """
    if not is_auto(settings.vocabulary if words is None else words):
        return words
    model, folder = settings.model, Path(settings.out)
    if model.head is not None:
        raise UserError("the words are auto, and a head knows its classes", fix="leave one of them out")
    if isinstance(settings.threshold, Mapping) or settings.calibration is not None:
        raise UserError(
            "the words are auto, and a threshold for each class is given", allowed="one threshold", fix="name the words"
        )
    if model.template != "{}":
        raise UserError("the words are auto, and model.template is given", fix="leave the template out")
    dataset = Labelling.of(settings, BACKGROUND).dataset
    check_captioner(model.captioner)
    RunFolder(folder, {}).refuse_other_files()
    accelerator = settings.trainer.get("accelerator", "auto")
    device = default_device(accelerator if accelerator in ("cpu", "cuda", "mps") else None)
    image_words = ImageWords.of_captions(dataset_captions(dataset, str(model.captioner), device, folder))
    if image_words.left_out:
        rare, first = len(image_words.left_out), ", ".join(image_words.left_out[:5])
        problem = f"{rare} words that are in few captions are left out: {first} ..."
        warnings.warn(f"{problem}; masks have 8 bits, for {MAX_CLASSES} classes", WordsWarning, stacklevel=2)
    return image_words


def _writer(labelling: Labelling, trainer: pl.Trainer, threads: int | None) -> BackgroundWriter:
    if threads is None:
        threads = threads_beside(trainer.strategy.root_device.type)
    return BackgroundWriter(labelling.files, threads=threads)


def _missing(labelling: Labelling, manifest: Path, skipped: Sequence[tuple[str, str]]) -> int:
    """How many images have neither a label nor a reason."""
    labelled, named, images = {entry.key for entry in read_entries(manifest)}, dict(skipped), labelling.images({})
    keys = labelling.dataset.image_ids
    return sum(key not in labelled and images.path(index) not in named for index, key in enumerate(keys))


def _check_ray(settings: LabelSettings) -> None:
    """Raises UserError for settings that have no effect with Ray."""
    defaults = LabelSettings()
    changed = [f"trainer.{name}" for name in settings.trainer]
    changed += ["writers"] if settings.writers != defaults.writers else []
    changed += ["data.num_workers"] if settings.data.num_workers != defaults.data.num_workers else []
    if changed:
        fix = "leave it out, and see ray.readers, ray.writers, ray.gpus"
        raise UserError(f"{changed[0]} has no effect with ray.actors", fix=fix)
