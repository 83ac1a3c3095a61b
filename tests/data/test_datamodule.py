"""The data module under a real Lightning trainer."""

from __future__ import annotations

import functools
import operator

import pytest
import pytorch_lightning as pl
import torch

from ca_seg.data.datamodule import SegmentationData
from ca_seg.errors import BadDataset, OutOfRange, UnknownName

SIZES = [(12, 16), (16, 12), (12, 16), (12, 16), (16, 12), (12, 16)]
SPLITS = {"train": ["p0", "p1", "p2", "p3"], "test": ["p4", "p5"]}


class RecordingModule(pl.LightningModule):
    """Records the batches that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, list[list[str]]] = {"train": [], "val": [], "test": [], "predict": []}
        self.skipped: list[str] = []
        self.shapes: set[tuple[int, ...]] = set()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def record(self, stage: str, batch: dict) -> None:
        self.seen[stage].append(batch["image_id"])
        self.skipped += [item.path for item in batch["skipped"]]
        self.shapes.add(tuple(batch["image"].shape[1:]))
        assert batch["image"].shape[-2:] == batch["mask"].shape[-2:]

    def training_step(self, batch: dict, index: int) -> torch.Tensor:
        self.record("train", batch)
        return self.weight * batch["image"].mean()

    def validation_step(self, batch: dict, index: int) -> None:
        self.record("val", batch)

    def test_step(self, batch: dict, index: int) -> None:
        self.record("test", batch)

    def predict_step(self, batch: dict, index: int) -> None:
        self.record("predict", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(**settings: int) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **settings,
    )


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("error:.*batch sampler")
def test_test_and_predict_get_each_image_once_in_batches_of_one_size(make_folder) -> None:
    root = make_folder(SIZES)
    (root / "images" / "p2.png").write_bytes((root / "images" / "p2.png").read_bytes()[:-60])
    data = SegmentationData("folder", str(root), batch_size=3)
    module = RecordingModule()
    trainer().test(module, data, verbose=False)
    trainer().predict(module, data)
    expected = [["p0", "p3"], ["p1", "p4"], ["p5"]]  # p2 is truncated; the batch of p1 and p4 would take p2, not p5
    assert sorted(module.seen["test"]) == sorted(module.seen["predict"]) == expected
    assert module.skipped == [str(root / "images" / "p2.png")] * 2
    assert module.shapes == {(3, 12, 16), (3, 16, 12)}
    assert data.class_list.names == ("cat", "grass")


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_training_has_a_new_order_in_each_epoch_and_the_same_in_each_run(make_folder) -> None:
    root = str(make_folder([(12, 16)] * 8, splits={"train": [f"p{n}" for n in range(7)], "val": ["p7"]}))
    runs = []
    for augment in (False, False, True):
        module = RecordingModule()
        data = SegmentationData("folder", root, train_split="train", val_split="val", batch_size=2, augment=augment)
        trainer(max_epochs=2).fit(module, data)
        runs.append(module)
    plain, repeated, augmented = runs
    assert plain.seen == repeated.seen
    epochs = [functools.reduce(operator.iadd, plain.seen["train"][start : start + 4], []) for start in (0, 4)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == [f"p{n}" for n in range(7)]
    assert epochs[0] != epochs[1]
    assert plain.seen["val"] == [["p7"], ["p7"]]
    assert plain.shapes == {(3, 12, 16)}
    assert augmented.seen == plain.seen  # the same order, different crops
    assert augmented.shapes == {(3, 12, 12), (3, 12, 16)}  # crops to train, whole images to validate


def test_splits_limit_and_crop(make_folder) -> None:
    root = str(make_folder(SIZES, splits=SPLITS))
    data = SegmentationData("folder", root, split="test", train_split="train", limit=1, augment=True, crop=20)
    assert [batch["image_id"] for batch in data.test_dataloader()] == [["p4"]]
    assert [batch["image_id"] for batch in data.predict_dataloader()] == [["p4"]]
    assert [tuple(batch["image"].shape) for batch in data.train_dataloader()] == [(1, 3, 20, 20)]
    assert data.val_dataloader() == []
    assert len(SegmentationData("folder", root).test_dataloader()) == 2


def test_bad_settings_are_refused(make_folder) -> None:
    root = str(make_folder(splits=SPLITS | {"train": ["p0"], "test": ["p1"]}))
    with pytest.raises(BadDataset, match="train_split"):
        SegmentationData("folder", root, split="test").train_dataloader()
    with pytest.raises(OutOfRange, match=r"\b0\b"):
        SegmentationData("folder", root, batch_size=0)
    with pytest.raises(OutOfRange, match="-1"):
        SegmentationData("folder", root, num_workers=-1)
    with pytest.raises(OutOfRange, match=r"\b0\b"):
        SegmentationData("folder", root, limit=0).test_dataloader()
    with pytest.raises(UnknownName, match="'coco'"):
        SegmentationData("coco", root).test_dataloader()
    with pytest.raises(UnknownName, match="'val'"):
        SegmentationData("folder", root, split="val").test_dataloader()
