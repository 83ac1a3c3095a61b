"""The transformers-style pipeline: its output beside that of transformers' real one, its masks beside `segment`'s."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessor,
    pipeline,
)

import ca_seg
from ca_seg.errors import OutOfRange, UnreadableImage, UserError
from ca_seg.jobs.image_segmentation import image_segmentation_pipeline
from ca_seg.resources import resource_path

SCENES = [str(resource_path("datasets", "scenes", "images", f"scene_000{number}.png")) for number in (1, 2)]
LABELS = ["pig", "accordion", "road", "soil"]


@pytest.fixture(scope="module")
def segmenter():
    return image_segmentation_pipeline("mini", candidate_labels=LABELS)


@pytest.fixture(scope="module")
def theirs():
    """transformers' pipeline with a small random SegFormer."""
    torch.manual_seed(0)
    config = SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 8],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 1],
        mlp_ratios=[1, 1],
        decoder_hidden_size=8,
        num_labels=4,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    model = SegformerForSemanticSegmentation(config).eval()
    return pipeline("image-segmentation", model=model, image_processor=SegformerImageProcessor(size=64))


def _form(annotations) -> list:
    """Keys, types, modes and sizes."""
    return [
        (
            sorted(entry),
            type(entry["label"]),
            isinstance(entry["mask"], Image.Image),
            entry["mask"].mode,
            entry["mask"].size,
            set(np.unique(np.asarray(entry["mask"])).tolist()) <= {0, 255},
        )
        for entry in annotations
    ]


@pytest.mark.parametrize("kind", ["path", "picture"])
def test_the_output_has_the_form_of_transformers(kind, segmenter, theirs):
    image = SCENES[0] if kind == "path" else Image.open(SCENES[0]).convert("RGB")
    ours, other = segmenter(image), theirs(image)
    assert set(map(repr, _form(ours))) == set(map(repr, _form(other)))
    assert {entry["label"] for entry in ours} <= set(LABELS)
    assert all(isinstance(entry["score"], float) and 0 <= entry["score"] <= 1 for entry in ours)


def test_a_list_of_images_gives_a_list_of_lists_as_transformers_does(segmenter, theirs):
    ours, other = segmenter(SCENES), theirs(SCENES)
    assert [type(one) for one in ours] == [type(one) for one in other] == [list, list]
    assert _form(ours[0]) == _form(segmenter(SCENES[0]))
    assert len(segmenter(SCENES[:1])) == len(theirs(SCENES[:1])) == 1


def test_the_masks_are_those_of_segment(segmenter):
    segmentation = ca_seg.segment(SCENES[0], LABELS, backbone=segmenter.backbone)
    annotations = segmenter(SCENES[0])
    covered = np.zeros((128, 128), int)
    for entry in annotations:
        inside = np.asarray(entry["mask"]) == 255
        index = LABELS.index(entry["label"])
        assert (inside == (segmentation.mask == index)).all()
        assert entry["score"] == pytest.approx(float(segmentation.confidence[inside].mean()), abs=1e-6)
        covered += inside
    assert (covered == 1).all()
    present = [LABELS[index] for index in np.unique(segmentation.mask)]
    assert [entry["label"] for entry in annotations] == present


def test_labels_and_threshold_of_a_call(segmenter):
    (pig,) = segmenter(SCENES[0], "pig")
    assert pig["label"] == "pig"
    assert (np.asarray(pig["mask"]) == 255).sum() == (ca_seg.segment(SCENES[0], "pig", backbone="mini").mask == 0).sum()
    everything = segmenter(SCENES[0])
    middle = sorted(entry["score"] for entry in everything)[1]
    kept = segmenter(SCENES[0], threshold=middle)
    assert [entry["label"] for entry in kept] == [e["label"] for e in everything if e["score"] >= middle]
    assert segmenter(SCENES[0], threshold=1.0) == []


def test_what_cannot_be_used_is_refused(segmenter):
    with pytest.raises(UserError, match="candidate_labels"):
        image_segmentation_pipeline(segmenter.backbone)(SCENES[0])
    with pytest.raises(UserError, match="flibbertigibbet"):
        segmenter(SCENES[0], ["flibbertigibbet"])
    with pytest.raises(OutOfRange):
        segmenter(SCENES[0], threshold=1.5)
    with pytest.raises(UnreadableImage):
        segmenter("missing.png")
    with pytest.raises(UserError, match="an image is a int"):
        segmenter([3])
