"""Labels written by `ca-seg label`, read as a dataset, with the confidence as the weight of each pixel."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from ca_seg.cli.main import main
from ca_seg.data.batches import EpochShuffle
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.collate import collate
from ca_seg.data.datamodule import SegmentationData
from ca_seg.data.transforms import Augment, Augmented
from ca_seg.errors import BadDataset, BadMask, UnknownName

QUIET = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Six shipped scenes, labelled by the command."""
    out = tmp_path_factory.mktemp("labels") / "run"
    arguments = ["--data.name", "scenes", "--data.split", "train", "--data.limit", "6", "--threshold", "0.1"]
    assert main(["label", *arguments, *QUIET, "--out", str(out)]) == 0
    return out


def test_samples_have_the_images_and_the_written_masks(labels):
    dataset, scenes = open_dataset("labelled", str(labels), "all"), open_dataset("scenes", None, "train")
    assert dataset.image_ids == scenes.image_ids[:6]
    assert dataset.class_list.names == scenes.class_list.names
    void = 0
    for index, image_id in enumerate(dataset.image_ids):
        sample = dataset[index]
        written = np.asarray(Image.open(labels / "png" / "masks" / f"{image_id}.png"))
        assert torch.equal(sample["image"], scenes[index]["image"])
        assert np.array_equal(sample["mask"].numpy(), written)
        assert "weight" not in sample
        void += int((written == 255).sum())
    assert void > 0


def test_weights_are_the_confidence_and_follow_their_pixels(labels):
    dataset = open_dataset("labelled", str(labels), "weighted")
    sample = dataset[2]
    gray = np.asarray(Image.open(labels / "confidence" / f"{sample['image_id']}.png"))
    assert np.allclose(sample["weight"].numpy() * 255, gray, atol=1e-3)
    batch = collate([dataset[0], dataset[1]])
    assert batch["weight"].shape == batch["mask"].shape
    # label and weight of a pixel are both its index, so they must stay equal after augmentation
    mask = torch.arange(128 * 128).view(128, 128) % 250
    image, labelled, weight = Augment(96).weighted(sample["image"], mask, mask.float(), 7)
    assert image.shape == (3, 96, 96)
    assert torch.equal(labelled.float(), weight)
    assert torch.equal(Augment(96)(sample["image"], mask, 7)[1], labelled)
    moved = Augmented(dataset, Augment(64), 0, EpochShuffle(len(dataset), 0))[0]
    assert moved["weight"].shape == moved["mask"].shape == (64, 64)


@pytest.mark.parametrize(("images", "image"), [("images", "image"), ("pictures", "picture")])
def test_runs_of_this_and_of_the_former_version(make_folder, tmp_path, images, image):
    folder, run = make_folder(), tmp_path / "run"
    shutil.copytree(folder / "masks", run / "png" / "masks" / "a")
    shutil.copy(folder / "classes.json", run / "png" / "classes.json")
    (run / "run.json").write_text(json.dumps({images: {"folder": str(folder / "images")}}))
    entries = [{"key": f"a/p{i}", image: f"p{i}.png"} for i in (1, 0)]
    lines = [json.dumps(line) for line in ({"manifest": 1, "fingerprint": "x"}, *entries)]
    (run / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    dataset, expected = open_dataset("labelled", str(run)), open_dataset("folder", str(folder))
    assert dataset.image_ids == ("a/p1", "a/p0")
    for index, source in enumerate((1, 0)):
        assert torch.equal(dataset[index]["image"], expected[source]["image"])
        assert torch.equal(dataset[index]["mask"], expected[source]["mask"])


def test_missing_and_inconsistent_parts_are_named(labels, tmp_path):
    with pytest.raises(UnknownName, match="weighted"):
        open_dataset("labelled", str(labels), "train")
    with pytest.raises(BadDataset, match=re.escape(str(tmp_path))):
        open_dataset("labelled", str(tmp_path), None)
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"images": {"folder": str(tmp_path / "photos")}}))
    (run / "png").mkdir()
    (run / "png" / "classes.json").write_bytes((labels / "png" / "classes.json").read_bytes())
    (run / "manifest.jsonl").write_text('{"key": "a", "image": "a.png"}\n')
    with pytest.raises(BadDataset, match=r"manifest\.jsonl"):
        open_dataset("labelled", str(run), None)
    (run / "manifest.jsonl").write_text('{"manifest": 1, "fingerprint": "x"}\n{"key": "a", "image": "../a.png"}\n')
    with pytest.raises(BadDataset, match=r"\.\./a\.png"):
        open_dataset("labelled", str(run), None)
    weighted = open_dataset("labelled", str(labels), "weighted")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / f"{weighted.image_ids[1]}.png")
    weighted._confidence = tmp_path
    with pytest.raises(BadMask, match="9 x 9"):
        weighted[1]
    with pytest.raises(BadMask, match="save_confidence"):
        weighted[0]


def test_a_head_is_trained_on_labels_and_evaluated_on_the_ground_truth(labels, tmp_path):
    arguments = [
        *("--data.name", "labelled", "--data.root", str(labels), "--data.train_split", "weighted"),
        *("--data.val_name", "scenes", "--data.val_split", "val", "--data.limit", "6", "--data.batch_size", "3"),
        *("--data.cache", str(tmp_path / "cache"), "--model.loss_at", "tokens", "--checkpoint.tensorboard", "false"),
        *("--trainer.max_epochs", "1", *QUIET, "--out", str(tmp_path / "out")),
    ]
    assert main(["train", *arguments]) == 0
    ground_truth = open_dataset("scenes", None, "val")
    data = SegmentationData(
        "labelled", str(labels), train_split="weighted", val_split="val", val_name="scenes", limit=6
    )
    assert data.validation_set().image_ids == ground_truth.image_ids[:6]
    assert next(iter(data.train_dataloader()))["weight"].max() <= 1
    with pytest.raises(BadDataset, match="labelled"):
        SegmentationData(
            "labelled",
            str(labels),
            train_split="all",
            val_name="labelled",
            val_root=str(renamed_classes(labels, tmp_path)),
        ).validation_set()
    assert main(["train", *arguments, "--data.val_name", "nowhere"]) == 2


def renamed_classes(labels, tmp_path):
    """The same labels with another class name."""
    run = tmp_path / "other"
    run.mkdir()
    for name in ("run.json", "manifest.jsonl"):
        (run / name).write_bytes((labels / name).read_bytes())
    (run / "png").mkdir()
    shutil.copytree(labels / "png" / "masks", run / "png" / "masks")
    classes = json.loads((labels / "png" / "classes.json").read_text())
    classes["classes"]["3"] = "something else"
    (run / "png" / "classes.json").write_text(json.dumps(classes))
    return run
