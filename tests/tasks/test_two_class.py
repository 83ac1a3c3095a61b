"""The two-class protocol of the paper against a plain loop, with the paper's mIoU formula and the true mIoU."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from sklearn.metrics import average_precision_score, jaccard_score

from ca_seg import Vocabulary
from ca_seg.cli.two_class import run
from ca_seg.data.collate import Batch
from ca_seg.data.settings import DataSettings
from ca_seg.errors import UserError
from ca_seg.jobs.two_class import TwoClassSettings, read_words, two_class
from ca_seg.predictors.settings import BackboneSettings
from ca_seg.tasks.two_class import TwoClass
from ca_seg.vocabulary import IGNORE_INDEX
from tests.function_predictor import FunctionPredictor

CLASSES = ("background", "cat", "dog")
SIZE = 12


class Maps:
    """Fixed maps, which record the words that they are asked for."""

    def __init__(self, values, asked):
        self.values, self.asked = values, asked

    def select(self, i):
        return Maps(self.values[i : i + 1], self.asked)

    def maps(self, vocabulary: Vocabulary):
        self.asked.append(vocabulary.classes)
        return self.values[:, : len(vocabulary.classes)]


def _batch(masks):
    names = [f"p{i}" for i in range(len(masks))]
    return Batch(image=torch.zeros(len(masks), 3, *masks.shape[1:]), mask=masks, image_id=names, path=names, skipped=[])


class Data(pl.LightningDataModule):
    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def test_dataloader(self):
        return torch.utils.data.DataLoader([self.batch], batch_size=None)


def _run(masks, values, **settings):
    asked = []
    task = TwoClass(
        FunctionPredictor(lambda images, seeds: Maps(values, asked)), CLASSES, ("floor", "sky"), size=SIZE, **settings
    )
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.test(task, Data(_batch(masks)), verbose=False)
    return task, asked


def test_figures_equal_a_plain_loop():
    torch.manual_seed(0)
    masks = torch.zeros(3, 6, 9, dtype=torch.int64)
    masks[0, :3] = 1
    masks[1, :, :4] = 2
    masks[1, 5] = IGNORE_INDEX
    masks[2, 0, 0], masks[2, 1, 1] = 1, 2  # two classes, which this protocol skips
    values = torch.rand(3, 3, 4, 4).softmax(dim=1)
    task, asked = _run(masks, values, words={"p1": "poodle"})
    assert asked == [("cat", "floor", "sky"), ("poodle", "floor", "sky")]
    assert task.scored == 2
    ((path, reason),) = task.skipped
    assert path == "p2"
    assert re.search(r"\b2\b", reason)
    rows, columns = (np.arange(SIZE) * n // SIZE for n in (6, 9))
    tokens = np.arange(SIZE) * 4 // SIZE
    ground_truths, predictions, precision = [], {"threshold": [], "argmax": []}, []
    for i, index in ((0, 1), (1, 2)):
        target = masks[i].numpy()[rows][:, columns]
        counted = target != IGNORE_INDEX
        ground_truth = (target == index)[counted]
        map_ = values[i, 0].numpy()
        score = map_[tokens][:, tokens][counted]
        ground_truths.append(ground_truth)
        predictions["threshold"].append((map_ > map_.mean())[tokens][:, tokens][counted])
        predictions["argmax"].append((values[i].argmax(0) == 0).numpy()[tokens][:, tokens][counted])
        precision.append(
            average_precision_score(np.concatenate([~ground_truth, ground_truth]), np.concatenate([1 - score, score]))
        )
    ground_truth = np.concatenate(ground_truths)
    for decision, parts in predictions.items():
        predicted, figures = np.concatenate(parts), task.figures[decision]
        accuracy = (predicted == ground_truth).mean()
        assert figures["accuracy"] == pytest.approx(accuracy)
        assert figures["paper_miou"] == pytest.approx(accuracy / (2 - accuracy))
        assert figures["true_miou"] == pytest.approx(jaccard_score(ground_truth, predicted, average=None).mean())
        assert figures["map"] == pytest.approx(np.mean(precision), abs=1e-6)


def test_a_method_that_does_not_see_any_word_is_asked_for_the_object_and_the_background():
    masks = torch.zeros(2, 6, 9, dtype=torch.int64)
    masks[0, :3], masks[1, :, :4] = 1, 2
    _, asked = _run(masks, torch.rand(2, 2, 4, 4), any_words=False)
    assert asked == [("cat", "background"), ("dog", "background")]


def test_a_protocol_without_background_words_is_refused():
    with pytest.raises(UserError) as caught:
        TwoClass(FunctionPredictor(lambda images, seeds: None), CLASSES, ())
    assert "floor" in caught.value.fix  # an example


def test_the_command_scores_scenes_with_one_object(tmp_path):
    words = ["grass", "sand", "sky", "water", "brick"]
    split = "in_distribution"
    common = ["--data.name", "scenes", "--data.splits", f"[{split}]", "--data.limit", "12", "--out", str(tmp_path)]
    assert (
        run([*common, "--backbone", "mini", "--background_words", json.dumps(words), "--trainer.accelerator", "cpu"])
        == 0
    )
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["protocol"] == {"name": "paper", "size": 224, "background_words": words}
    assert results["images"] + len(results["skipped"]) == 12
    assert results["figures"]["argmax"]["true_miou"] > 0.4
    result = two_class("mini", DataSettings("scenes", split=split, limit=12), background_words=words, device="cpu")
    assert result.figures["argmax"]["map"] == pytest.approx(results["figures"]["argmax"]["map"], abs=1e-6)
    assert result.complete
    assert result.unsuitable == len(result.skipped) == len(results["skipped"])


@pytest.mark.parametrize("content", ["[]", '{"a": 5}', '{"a": " "}', "{"])
def test_a_table_of_words_is_checked(tmp_path, content):
    (tmp_path / "words.json").write_text(content)
    with pytest.raises(UserError, match=r"words\.json"):
        read_words(tmp_path / "words.json")


def test_template_and_synonyms_are_asked():
    masks = torch.zeros(1, 6, 9, dtype=torch.int64)
    masks[0, :3] = 1
    vocabularies = []

    class Asked(Maps):
        def select(self, i):
            return self

        def maps(self, vocabulary):
            vocabularies.append(vocabulary)
            return super().maps(vocabulary)

    task = TwoClass(
        FunctionPredictor(lambda images, seeds: Asked(torch.rand(1, 3, 4, 4), [])), CLASSES, ("floor", "sky"),
        size=SIZE, template="a {}", synonyms={"cat": ["kitten"], "dog": ["puppy"]},
    )  # fmt: skip
    task.test_step(_batch(masks), 0)
    assert vocabularies == [Vocabulary(("cat", "floor", "sky"), (("a cat", "a kitten"), ("a floor",), ("a sky",)))]


IMAGES = DataSettings("scenes", split="in_distribution", limit=2)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ('{"IMAGE.png": "car"}', r"scene_0000\.png.*scene_0001"),
        ('{"IMAGE": "car", "IMAGE": "tree"}', "twice"),
        ('{"IMAGE": "carr"}', "carr"),
    ],
)
def test_words_that_no_image_is_asked_are_refused_before_weights_are_read(tmp_path, monkeypatch, words, value):
    monkeypatch.setattr("ca_seg.predictors.settings.load_backbone", None)  # it would raise TypeError
    (tmp_path / "words.json").write_text(words.replace("IMAGE", IMAGES.open().image_ids[0]))
    settings = TwoClassSettings(words=str(tmp_path / "words.json"))
    with pytest.raises(UserError, match=value):
        two_class("mini", IMAGES, settings, background_words=["grass"], device="cpu")


def test_classes_of_images_without_a_word_are_checked_too(tmp_path, monkeypatch):
    monkeypatch.setattr("ca_seg.predictors.settings.load_backbone", None)
    root = tmp_path / "set"
    for name in ("a", "b"):
        for folder, mode in (("images", "RGB"), ("masks", "L")):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.new(mode, (64, 64)).save(root / folder / f"{name}.png")
    (root / "classes.json").write_text('{"ignore": [255], "classes": {"0": "zebr"}}')
    (tmp_path / "words.json").write_text('{"a": "zebra"}')
    settings = TwoClassSettings(words=str(tmp_path / "words.json"))
    with pytest.raises(UserError, match="zebr"):
        two_class("mini", str(root), settings, background_words=["grass"], device="cpu")


def test_images_without_a_word_are_counted_and_words_beyond_the_limit_and_of_other_splits_taken(tmp_path):
    ids = DataSettings("scenes", split="in_distribution").open().image_ids
    other = DataSettings("scenes", split="shifted").open().image_ids[0]
    (tmp_path / "words.json").write_text(json.dumps({ids[0]: "car", ids[20]: "tree", other: "carr"}))
    settings = TwoClassSettings(words=str(tmp_path / "words.json"))
    content = two_class(
        "mini",
        DataSettings("scenes", split="in_distribution", limit=12),
        settings,
        background_words=["grass", "sand", "sky"],
        device="cpu",
    ).content
    assert content["without_word"] == 11
    wrong = TwoClassSettings(BackboneSettings(synonyms={"nothing": ["x"]}), words=settings.words)
    with pytest.raises(UserError, match="nothing"):
        two_class("mini", IMAGES, wrong, background_words=["grass"], device="cpu")


def test_a_background_word_with_a_comma_is_refused():
    with pytest.raises(UserError, match="floor,wall"):
        two_class("mini", IMAGES, background_words=["floor,wall"], device="cpu")
