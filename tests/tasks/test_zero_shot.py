"""The zero-shot task against a plain loop over images, with fixed maps."""

from __future__ import annotations

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from sklearn.metrics import average_precision_score, confusion_matrix

from ca_seg.baselines.colour_clusters import ColourClusters
from ca_seg.baselines.trivial import OneClass, RandomMaps
from ca_seg.data.datamodule import SegmentationData
from ca_seg.data.seeds import image_seed
from ca_seg.tasks.zero_shot import PROTOCOLS, ZeroShot
from ca_seg.vocabulary import Vocabulary
from tests.function_predictor import FunctionPredictor

NAMES = ("cat", "dog", "grass")


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for i in range(5):
        size = (12, 10) if i < 3 else (9, 14)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / "images" / f"p{i}.png")
        Image.fromarray(rng.choice([0, 7, 8, 9], size, p=[0.1, 0.3, 0.2, 0.4]).astype(np.uint8)).save(
            tmp_path / "masks" / f"p{i}.png"
        )
    (tmp_path / "classes.json").write_text('{"ignore": [0], "classes": {"7": "cat", "8": "dog", "9": "grass"}}')
    return tmp_path


class SeededMaps:
    """Maps that depend on the image's seed and the class name only, so that a subset of classes has the same maps."""

    def __init__(self, seeds=()):
        self.seeds = tuple(seeds)

    def select(self, i):
        return SeededMaps(self.seeds[i : i + 1])

    @staticmethod
    def map(seed, name):
        return torch.rand(4, 4, generator=torch.Generator().manual_seed(seed + sum(map(ord, name))))

    def maps(self, vocabulary: Vocabulary):
        return torch.stack([torch.stack([self.map(s, n) for n in vocabulary.classes]) for s in self.seeds])


def _trainer():
    return pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
                      enable_model_summary=False)  # fmt: skip


def test_figures_equal_a_plain_loop(folder):
    data = SegmentationData("folder", str(folder), batch_size=2)
    saved_masks = {}
    task = ZeroShot(
        FunctionPredictor(lambda images, seeds: SeededMaps(seeds)),
        NAMES,
        save_mask=lambda p, s, m: saved_masks.update({(p, s): m}),
    )
    _trainer().test(task, data, verbose=False)
    dataset = data.dataset(None)
    ground_truth, predicted, precision = [], {p: [] for p in PROTOCOLS}, {p: [] for p in PROTOCOLS}
    for item in (dataset[i] for i in range(5)):
        mask = item["mask"].numpy()
        seed = image_seed(0, item["image_id"])
        for protocol in PROTOCOLS:
            class_indices = [i for i in range(3) if protocol == "full-vocabulary" or (mask == i).any()]
            maps = torch.stack([SeededMaps.map(seed, NAMES[i]) for i in class_indices])[None]
            full = torch.nn.functional.interpolate(maps, mask.shape, mode="bilinear")[0].numpy()
            predicted[protocol].append(np.array(class_indices)[full.argmax(0)][mask != 255])
            aps = [
                average_precision_score(mask[mask != 255] == c, full[k][mask != 255])
                for k, c in enumerate(class_indices) if (mask == c).any()
            ]  # fmt: skip
            precision[protocol].append(np.mean(aps))
        ground_truth.append(mask[mask != 255])
    for protocol in PROTOCOLS:
        expected = confusion_matrix(np.concatenate(ground_truth), np.concatenate(predicted[protocol]), labels=range(3))
        assert (task.scores[protocol].confusion.compute().numpy() == expected).all()
        iou = np.diag(expected) / (expected.sum(0) + expected.sum(1) - np.diag(expected))
        figures = task.figures[protocol]
        assert figures["miou"] == pytest.approx(iou.mean())
        assert figures["pixel_accuracy"] == pytest.approx(np.trace(expected) / expected.sum())
        assert figures["map"] == pytest.approx(np.mean(precision[protocol]), abs=1e-5)
    assert task.scored == 5
    assert len(saved_masks) == 10


def test_batches_do_not_change_the_figures(folder):
    results = []
    for size in (1, 3):
        task = ZeroShot(FunctionPredictor(lambda images, seeds: SeededMaps(seeds)), NAMES)
        _trainer().test(task, SegmentationData("folder", str(folder), batch_size=size), verbose=False)
        results.append(task.figures)
    assert results[0] == results[1]


def test_an_unreadable_image_is_listed_and_the_others_are_scored(folder):
    (folder / "images" / "p3.png").write_bytes(b"not an image")
    task = ZeroShot(FunctionPredictor(lambda images, seeds: SeededMaps(seeds)), NAMES)
    _trainer().test(task, SegmentationData("folder", str(folder), batch_size=2), verbose=False)
    assert task.scored == 4
    assert [path.endswith("p3.png") for path, _ in task.skipped] == [True]


def test_images_are_ranked_by_their_miou(folder):
    task = ZeroShot(FunctionPredictor(lambda images, seeds: SeededMaps(seeds)), NAMES)
    _trainer().test(task, SegmentationData("folder", str(folder)), verbose=False)
    scores = [score for _, score in task.ranked()]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == len(set(image_id for image_id, _ in task.ranked())) == 5


def test_the_task_has_no_parameters():
    assert not list(ZeroShot(FunctionPredictor(lambda images, seeds: SeededMaps(seeds)), NAMES).parameters())


def test_trivial_baselines():
    words = Vocabulary.from_names(NAMES)
    one_class = OneClass({"dog": 5, "grass": 9}).predict(torch.zeros(2, 3, 4, 4), [0, 1])
    assert one_class.maps(words).argmax(dim=1).unique().tolist() == [2]
    assert one_class.select(1).maps(Vocabulary.from_names(["cat", "dog"])).argmax(dim=1).unique().tolist() == [1]
    random = RandomMaps().predict(torch.zeros(2, 3, 4, 4), [3, 4])
    assert torch.equal(random.select(1).maps(words), random.maps(words)[1:])


def test_colour_clusters_get_classes_from_the_ground_truth():
    image = torch.zeros(1, 3, 6, 8)
    image[0, 0, :, :4], image[0, 2, :, 4:] = 1.0, 1.0
    ground_truth = torch.full((6, 8), 1)
    ground_truth[:, 4:], ground_truth[0, 0], ground_truth[5, 7] = 2, 255, 0
    clusters = ColourClusters(NAMES).predict(image, [0], lambda i: ground_truth)
    mask = clusters.select(0).maps(Vocabulary.from_names(NAMES)).argmax(dim=1)[0]
    assert mask[:, :4].unique().tolist() == [1]
    assert mask[:, 4:].unique().tolist() == [2]
    few = clusters.maps(Vocabulary.from_names([NAMES[2], NAMES[0]])).argmax(dim=1)[0]
    assert few[:, 4:].unique().tolist() == [0]


def test_an_error_while_an_image_is_scored_ends_the_run(folder):
    def full_disk(*_):
        raise OSError("the disk is full")

    task = ZeroShot(FunctionPredictor(lambda images, seeds: SeededMaps(seeds)), NAMES, save_mask=full_disk)
    with pytest.raises(OSError, match="the disk is full"):
        _trainer().test(task, SegmentationData("folder", str(folder), batch_size=2), verbose=False)
    task.stop()
    assert not task.figures
