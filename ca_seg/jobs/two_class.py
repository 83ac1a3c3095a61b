"""The paper's two-class protocol on a dataset: one object against background words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ca_seg.backbones.backbone import Backbone
from ca_seg.bounded_files import parse_json, read_text
from ca_seg.concept.choices import ORACLE, PRESENT
from ca_seg.data.catalogue import class_words
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.settings import DataSettings, data_named
from ca_seg.errors import OutOfRange, UnknownName, UserError
from ca_seg.jobs.arguments import check_folder, checked_settings
from ca_seg.jobs.trainer import INFERENCE, new_trainer, trainer_options
from ca_seg.jobs.words import check_words
from ca_seg.json_file import write_json
from ca_seg.methods.compared import (
    check_compared_objects,
    every_object,
    open_compared,
    reads_ground_truth,
    sees_any_word,
)
from ca_seg.methods.method import Method
from ca_seg.predictors.predictor import Predictor
from ca_seg.predictors.registry import MethodContext
from ca_seg.predictors.settings import BackboneSettings, choose_backbone
from ca_seg.seed_range import check_seed
from ca_seg.tasks.two_class import SIZE, TwoClass, object_vocabulary
from ca_seg.versions import versions
from ca_seg.vocabulary import check_single_words

MAX_NAMED = 3  # image ids in an error


@dataclass(frozen=True)
class TwoClassSettings:
    """Options of the two-class protocol.

    Args:
        model: the backbone and how its maps are read out
        data: the images
        background_words: what stands for the background; None: the dataset's own background words
        words: a JSON file with a word for each image, {"00000": "goldfish"}; None: the dataset's own. An image without
            a word is asked its class
        compare: further methods: names from `list_methods()`, and backbones of the zoo
        size: pixels; masks are compared at size x size
        seed: of the noise
        out: the folder of results.json; None: nothing is written
        trainer: arguments of Lightning's Trainer
    """

    model: BackboneSettings = field(default_factory=BackboneSettings)
    data: DataSettings = field(default_factory=DataSettings)
    background_words: list[str] | None = None
    words: str | None = None
    compare: list[str] = field(default_factory=list)
    size: int = SIZE
    seed: int = 0
    out: str | None = None
    trainer: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TwoClassResults:
    """What `ca_seg.two_class` returns. `content` is what results.json holds."""

    content: dict[str, Any]
    unsuitable: int  # images that show several classes or none, which this protocol cannot score

    @property
    def figures(self) -> dict[str, dict[str, float]]:
        """By decision (threshold, argmax): accuracy, paper_miou, true_miou and map, all 0..1."""
        return self.content["figures"]

    @property
    def compared(self) -> dict[str, dict[str, Any]]:
        """The same figures of the compared methods, by name."""
        return {name: row["figures"] for name, row in self.content["compared"].items()}

    @property
    def skipped(self) -> list[list[str]]:
        """[path, reason] of each image that was not scored."""
        return self.content["skipped"]

    @property
    def complete(self) -> bool:
        """Every image that the protocol can score could be read."""
        return self.unsuitable == len(self.skipped)

    def save(self, folder: str | Path) -> Path:
        """Write FOLDER/results.json; its path."""
        path = Path(folder) / "results.json"
        write_json(path, self.content)
        return path


def two_class(
    backbone: str | Backbone | BackboneSettings | None = None,
    data: str | Path | DataSettings | None = None,
    settings: TwoClassSettings | None = None,
    *,
    background_words: str | Sequence[str] | None = None,
    methods: Sequence[Method] = (),
    device: str | None = None,
    out: str | Path | None = None,
) -> TwoClassResults:
    """Score a backbone as the ConceptAttention paper does on ImageNet-Segmentation: one object against the rest.

    Args:
        backbone: a name of the zoo, a loaded backbone, or settings; in place of `settings.model`
        data: a dataset's name, a folder with images/, masks/ and classes.json, or settings; in place of `settings.data`
        settings: all other options
        background_words: such as ["floor", "grass", "sky"], in place of `settings.background_words`
        methods: further methods that are open already (`ca_seg.method`), scored beside those of `settings.compare`
        device: cpu, cuda, cuda:1 or mps; in place of the trainer's accelerator
        out: a folder to write to, in place of `settings.out`

    Returns:
        The figures as the paper counts them and as they are usually counted, and the images that were not scored.

    Raises:
        UserError: for settings, data or weights that cannot be used, where there is no background word, and for words
            of images that are not there

    Example:
        >>> ca_seg.two_class("mini", "scenes", background_words=["grass", "sky"]).figures["argmax"]["true_miou"]
    """
    settings = checked_settings(settings, TwoClassSettings())
    folder = settings.out if out is None else out
    check_seed(settings.seed)
    check_folder(folder)
    if settings.size < 1:
        raise OutOfRange(f"size is {settings.size}", allowed="1 or more")
    model, loaded = choose_backbone(settings.model, backbone)
    images = settings.data if data is None else data_named(data, DataSettings)
    dataset, own_words = images.open(), class_words(images.name)
    wanted = [background_words] if isinstance(background_words, str) else background_words
    words = wanted or settings.background_words or own_words.synonyms.get(own_words.background or "", [])
    check_single_words(words)
    classes = dataset.class_list
    trainer = new_trainer(settings.trainer | trainer_options(device), max_devices=1, **INFERENCE)
    device = str(trainer.strategy.root_device)
    image_words = _words_of_images(Path(settings.words), images, dataset) if settings.words else dataset.image_words()
    without_word = [image_id for image_id in dataset.image_ids if image_id not in image_words]
    background = own_words.background or "background"
    stuff = [name for name, kind in zip(classes.names, classes.kinds, strict=False) if kind == "stuff"]
    objects = [name for name in classes.names if name not in (background, *stuff)]
    asked = list(dict.fromkeys((*image_words.values(), *(objects if without_word else ()))))
    template, synonyms = model.template, model.synonyms or {}
    for name in synonyms:
        if name not in (*asked, *words):
            raise UnknownName("word with synonyms", name, (*asked, *words))
    vocabularies = (
        [object_vocabulary(word, words, template=template, synonyms=synonyms) for word in asked] if words else []
    )
    phrases = (phrase for vocabulary in vocabularies for phrase in vocabulary.concepts)
    check_words(model, tuple(dict.fromkeys(phrases)), loaded, ground_truth=True)
    check_compared_objects(settings.compare, asked, words)
    for method in methods:
        if method.card.words != "none":
            any_words = method.card.words == "free"
            method.predictor.check_words(every_object(asked, words, any_words=any_words))
    _check_distinct([model.backbone, *settings.compare, *(method.name for method in methods)])

    def scored(predictor: Predictor, *, any_words: bool = True) -> TwoClass:
        task = TwoClass(
            predictor,
            classes.names,
            words,
            background=background,
            stuff=stuff,
            words=image_words,
            size=settings.size,
            seed=settings.seed,
            any_words=any_words,
            template=template,
            synonyms=synonyms,
        )
        trainer.test(task, datamodule=images.module(), verbose=False)
        task.predictor = None  # it holds a whole backbone
        return task

    loaded = model.load(device, loaded)
    readout = model.predictor(loaded).settings()
    task = scored(model.predictor(loaded))
    compared = {}
    context = MethodContext(model, dataset, device)
    for name in settings.compare:
        predictor = open_compared(name, context, loaded)
        row = scored(predictor, any_words=sees_any_word(name))
        oracle = ORACLE if reads_ground_truth(name, model) else ""
        compared[name + oracle] = {"figures": row.figures, "readout": predictor.settings()}
    for method in methods:
        row = scored(method.predictor, any_words=method.card.words == "free")
        compared[method.name] = {"figures": row.figures, "readout": method.predictor.settings()}
    content = {
        "schema": "ca_seg.two_class/2",
        "protocol": {"name": "paper", "size": settings.size, "background_words": list(words)},
        "method": model.backbone + (ORACLE if model.prompt == PRESENT else ""),
        "readout": readout,
        "figures": task.figures,
        "compared": compared,
        "dataset": {"name": images.name, "fingerprint": dataset.fingerprint()},
        "images": task.scored,
        "without_word": len(without_word) if image_words else 0,
        "skipped": [list(pair) for pair in task.skipped],
        "seed": settings.seed,
        "versions": versions(),
    }
    results = TwoClassResults(content, task.unsuitable)
    if folder is not None:
        results.save(folder)
    return results


def _check_distinct(names: Sequence[str]) -> None:
    """Raises UserError for a method that is compared with itself."""
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{name!r} is scored twice", fix="remove it from compare or methods")


def read_words(file: Path) -> dict[str, str]:
    """A word for each image, by image id.

    Raises UserError for a file that cannot be read, holds an id twice, or holds anything else.
    """
    try:
        content = parse_json(read_text(file), unique_keys=True)
    except (OSError, ValueError) as problem:
        raise UserError(f"{file} cannot be read ({problem})") from problem
    if not isinstance(content, dict) or not all(isinstance(word, str) and word.strip() for word in content.values()):
        raise UserError(f"{file} is not a table of words", fix='an example: {"00000": "goldfish"}')
    return content


def _words_of_images(file: Path, images: DataSettings, dataset: SegmentationDataset) -> dict[str, str]:
    """The words of the file for images of the split. Raises UserError for an id of no image of the dataset."""
    words = read_words(file)
    known = dataset.image_ids if images.limit is None else replace(images, limit=None).open().image_ids
    unknown = words.keys() - set(known)
    if unknown and images.split is not None:
        unknown -= set(replace(images, limit=None, split=None).open().image_ids)
    if unknown:
        named = ", ".join(map(repr, sorted(unknown)[:MAX_NAMED]))
        more = f" and {len(unknown) - MAX_NAMED} more" if len(unknown) > MAX_NAMED else ""
        raise UserError(
            f"{file} has words for images that are not there: {named}{more}",
            allowed=f"image ids, which have no ending, such as {', '.join(map(repr, known[:MAX_NAMED]))}",
        )
    return {image_id: words[image_id] for image_id in known if image_id in words}
