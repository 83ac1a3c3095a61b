"""`ca_seg.parts` and `ca-seg parts`, and instances of a class."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

import ca_seg
from ca_seg.cli.main import main
from ca_seg.data.catalogue import open_dataset
from ca_seg.errors import OutOfRange, UnknownName, UserError
from ca_seg.jobs.instances import save_instances
from ca_seg.jobs.segmentation import Segmentation
from ca_seg.predictors.token_clusters import token_clusters


@pytest.fixture(scope="module")
def backbone():
    return ca_seg.load_backbone("mini")


@pytest.fixture(scope="module")
def scene():
    return open_dataset("scenes", None, "val")[0]["image"]


@pytest.fixture(scope="module")
def result(backbone, scene):
    return ca_seg.parts(scene, backbone=backbone)


def test_parts_are_the_clusters_of_the_recording(backbone, scene, result):
    from ca_seg.data.seeds import image_seed

    tokens = token_clusters(backbone.record(scene[None], seed=image_seed(0, result.image_id)))
    assert len(result.classes) == int(tokens.max()) + 1
    assert torch.equal(result.maps.argmax(1)[0], tokens)
    assert result.mask.shape == tuple(scene.shape[-2:])


def test_a_part_has_the_best_words_of_all_that_were_taught(backbone, result):
    assert len(result.words) == len(result.classes)
    taught = set(backbone.text.taught)
    for title, words in zip(result.classes, result.words, strict=True):
        assert title.startswith(next(iter(words)))
        assert taught.issuperset(words)
        scores = list(words.values())
        assert scores == sorted(scores, reverse=True)
        assert 0 <= scores[-1] <= scores[0] <= 1
    content = json.loads(json.dumps(result.as_dict()))
    assert content["concepts"][result.classes[0]]["words"] == pytest.approx(dict(result.words[0]))


def test_the_number_of_parts_and_their_names_are_chosen(backbone, scene):
    few = ca_seg.parts(scene, 2, backbone=backbone, names=["cat", "grass", "sky"])
    assert len(few.classes) == 2
    assert {word for words in few.words for word in words} == {"cat", "grass", "sky"}
    unnamed = ca_seg.parts(scene, 3, backbone=backbone, settings=ca_seg.PartsSettings(named=False))
    assert unnamed.classes == ("part 1", "part 2", "part 3")
    assert unnamed.words == ({}, {}, {})


def test_parts_are_refined_as_masks_are(backbone, scene):
    sharp = ca_seg.parts(scene, 3, backbone=backbone, refine=["attention", "pamr"])
    assert sharp.maps.shape[-2:] == scene.shape[-2:]
    torch.testing.assert_close(sharp.maps.sum(1), torch.ones_like(sharp.maps[:, 0]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"count": 0}, OutOfRange),
        ({"count": 255}, OutOfRange),
        ({"threshold": 3.0}, OutOfRange),
        ({"prompt": "all"}, UserError),
        ({"window": 64}, UserError),
        ({"refine": ("absence",)}, UserError),
        ({"names": ("qwertyuiop",)}, UnknownName),
    ],
)
def test_bad_options_are_refused_before_a_backbone_is_loaded(options, kind, monkeypatch, scene):
    monkeypatch.setattr(ca_seg.PartsSettings, "load", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(kind):
        ca_seg.parts(scene, settings=ca_seg.PartsSettings(backbone="mini", **options))


def test_the_command(scene, tmp_path, capsys):
    image = tmp_path / "a.png"
    Image.fromarray((scene.permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(image)
    out = tmp_path / "out"
    arguments = ["parts", str(image), "--backbone", "mini", "--count", "3", "--instances", "--json", "--out", str(out)]
    assert main(arguments) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said["concepts"]) == 3
    assert sorted(path.name for path in out.iterdir()) == [
        "a_instances.json",
        "a_instances.png",
        "a_mask.png",
        "a_overlay.png",
        "a_scores.json",
    ]
    assert main(["parts", "--backbone", "mini"]) == 2


def _segmentation(mask: list[str]) -> Segmentation:
    """One token for each pixel: a, b, or the background "."."""
    numbers = torch.tensor([["ab.".index(letter) for letter in row] for row in mask])
    maps = torch.nn.functional.one_hot(numbers, 3).movedim(-1, 0)[None].float()
    return Segmentation(np.zeros((*numbers.shape, 3), np.uint8), maps, ("a", "b", "rest"), 2, None, "x", "mini")


MASK = ["aa..b", "a....", "...bb", "aaa.b"]


def test_instances_are_the_connected_parts_of_each_class(tmp_path):
    segmentation = _segmentation(MASK)
    instances = segmentation.instances(smallest=0)
    assert [(i.class_name, i.number, i.box, i.area) for i in instances] == [
        ("a", 1, (0, 0, 2, 2), 3),
        ("a", 2, (0, 3, 3, 1), 3),
        ("b", 3, (3, 2, 2, 2), 3),
        ("b", 4, (4, 0, 1, 1), 1),
    ]
    for index, name in enumerate("ab"):
        numbers, count = ndimage.label(segmentation.mask == index, np.ones((3, 3)))
        masks = [i.mask(4, 5) for i in instances if i.class_name == name]
        assert len(masks) == count
        assert np.array_equal(np.any(masks, axis=0), numbers > 0)
    assert [i.area for i in segmentation.instances(smallest=0.1)] == [3, 3, 3]
    picture, table = save_instances(segmentation, tmp_path, smallest=0)
    numbers = np.asarray(Image.open(picture))
    assert numbers.tolist()[0] == [1, 1, 0, 0, 4]
    entries = json.loads(table.read_text())["instances"]
    assert [(numbers == entry["number"]).sum() for entry in entries] == [entry["area"] for entry in entries]
    with pytest.raises(OutOfRange):
        segmentation.instances(smallest=-1)
