"""Scores are counted beside the backbone, and images are asked together: the results are those of doing it in turn."""

from __future__ import annotations

import json

import pytest
import pytorch_lightning as pl

from ca_seg import load_backbone
from ca_seg.data.datamodule import SegmentationData
from ca_seg.evaluation.run import score
from ca_seg.predictors.zero_shot import ZeroShotPredictor
from ca_seg.tasks import zero_shot


class NoThread:
    """In place of the thread pool: work is done when it is handed over."""

    def submit(self, size, work):
        work()

    def wait(self):
        pass

    def abandon(self):
        pass


def results(**changes):
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_test_batches=2,
    )
    data = SegmentationData("scenes", batch_size=4, split="in_distribution")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in changes.items():
            patched.setattr(zero_shot, name, value)
        task = score(trainer, ZeroShotPredictor(load_backbone("mini")), data, seed=0).task
    plain = [task.figures, task.intervals, task.reliability, task.images]
    return json.dumps(plain), task.matrices()


def image_by_image(prediction, vocabularies):
    return {image: prediction.select(image).maps(words) for image, words in vocabularies.items()}


@pytest.fixture(scope="module")
def beside():
    return results()


def test_results_equal_those_of_scoring_between_the_batches(beside):
    text, matrices = results(BoundedThreadPool=NoThread)
    assert text == beside[0]
    for protocol, matrix in matrices.items():
        assert (matrix == beside[1][protocol]).all()
    assert matrices["full-vocabulary"].sum() > 0


def test_results_are_those_of_asking_image_by_image(beside):
    """Each pixel's class is the same. Scores differ in their last bit, as with another batch size."""
    text, matrices = results(maps_of_images=image_by_image)
    for protocol, matrix in matrices.items():
        assert (matrix == beside[1][protocol]).all()
    figures, expected = json.loads(text)[0], json.loads(beside[0])[0]
    assert figures["full-vocabulary"] == expected["full-vocabulary"]
    assert figures["oracle-presence"] == pytest.approx(expected["oracle-presence"], abs=1e-7)
    assert figures["oracle-presence"]["miou"] == expected["oracle-presence"]["miou"]
