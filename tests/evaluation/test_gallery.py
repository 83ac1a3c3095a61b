"""Which images an evaluation shows, and that they are shown as they were scored."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image

import ca_seg
from ca_seg.errors import UserError
from ca_seg.evaluation.gallery import best_middle_worst
from ca_seg.evaluation.results import EvaluationResults
from ca_seg.evaluation.side_by_side import spread
from ca_seg.refine.steps import Refinement
from ca_seg.tasks.scores import image_miou
from ca_seg.visual.method_grid import GAP, HEAD, LINE, TILE, MethodView, method_grid
from tests.cli.commands import few_scenes


def ranking(count: int) -> list[tuple[str, float]]:
    return [(f"{rank}", 1 - rank / 1000) for rank in range(1, count + 1)]


@pytest.mark.parametrize(
    ("images", "count", "expected"),
    [
        (26, 1, ("1", "13", "26")),
        (27, 1, ("1", "14", "27")),
        (1, 1, ("1", "1", "1")),
        (240, 4, ("1 2 3 4", "119 120 121 122", "240 239 238 237")),
        (3, 4, ("1 2 3", "1 2 3", "3 2 1")),
        (0, 4, ("", "", "")),
    ],
)
def test_best_middle_and_worst_of_a_ranking(images, count, expected):
    chosen = best_middle_worst(ranking(images), count)
    assert list(chosen) == ["best", "middle", "worst"]
    assert tuple(" ".join(image_id for image_id, _ in pairs) for pairs in chosen.values()) == expected
    assert all(pair in ranking(images) for pairs in chosen.values() for pair in pairs)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> EvaluationResults:
    """Five scenes, with a refinement step that changes the masks."""
    folder = tmp_path_factory.mktemp("gallery")
    settings = ca_seg.EvaluationSettings(refine=Refinement(steps=["guided-filter"]), unrefined=False, report=True)
    return ca_seg.evaluate("mini", few_scenes(folder / "few", 5), settings, device="cpu", out=folder / "out")


def test_the_examples_are_the_best_the_middle_and_the_worst_as_they_were_scored(results):
    scores = results.content["images"]["all"]["full-vocabulary"]
    order = sorted(scores, key=scores.__getitem__, reverse=True)
    examples = results.gallery.examples
    assert [example.title.split(": ")[0] for example in examples] == [
        f"best, {order[0]}",
        f"middle, {order[2]}",
        f"worst, {order[4]}",
    ]
    for example, rank in zip(examples, (1, 3, 5), strict=True):
        drawn = image_miou(torch.from_numpy(example.prediction), torch.from_numpy(example.ground_truth))
        assert drawn == pytest.approx(scores[order[rank - 1]], abs=0.005)
        assert f"rank {rank} of 5" in example.title
        assert f"mIoU {100 * scores[order[rank - 1]]:.0f}, " in example.title


def test_the_page_says_how_its_images_were_chosen(results):
    titles = [title for title, _ in results.gallery.sections]
    assert titles[:3] == [
        f"all: {end} 4 of 5 images by mIoU, all classes offered" for end in ("best", "middle", "worst")
    ]
    for (_, items), end in zip(results.gallery.sections[:3], ("best", "middle", "worst"), strict=True):
        ranked = results.content["ranking"][end]
        assert [item.title.split(":")[0] for item in items] == [image_id for image_id, _ in ranked]


def test_one_picture_is_written_beside_the_page(results, tmp_path):
    results.save(tmp_path)
    assert (tmp_path / "index.html").is_file()
    picture = Image.open(tmp_path / "examples.png")
    assert picture.size == results.examples().size
    assert re.match(rb"\x89PNG", (tmp_path / "examples.png").read_bytes())


def test_without_a_report_there_is_no_picture(tmp_path):
    with pytest.raises(UserError, match="no images") as caught:
        EvaluationResults({}, True).examples()
    assert "report" in caught.value.fix


@pytest.mark.parametrize(
    ("images", "count", "expected"), [(11, 6, "0 2 4 6 8 10"), (2, 6, "0 1"), (1, 6, "0"), (9, 1, "0")]
)
def test_images_shown_side_by_side_are_spread_evenly(images, count, expected):
    assert " ".join(spread([str(number) for number in range(images)], count)) == expected


def test_every_method_is_shown_beside_the_others_as_it_was_scored(tmp_path):
    settings = ca_seg.EvaluationSettings(compare=["one-class", "random-maps"], report=True)
    few = few_scenes(tmp_path / "few", 3)
    results = ca_seg.evaluate("mini", few, settings, device="cpu", out=tmp_path / "out")
    title, items = results.gallery.sections[0]
    assert title == "methods side by side: 3 of 3 images, spread evenly over their order"
    assert [item.title for item in items] == sorted(results.content["images"]["all"]["full-vocabulary"])
    for item in items:
        [(_, grid)] = item.views
        assert grid.width == HEAD + 4 * (TILE + GAP)  # square images: ground truth and three methods
    grids = {item.title: np.asarray(item.views[0][1]) for item in items}
    assert len({grid.tobytes() for grid in grids.values()}) == 3


def test_a_grid_has_a_column_for_each_method_and_a_row_for_each_class():
    image = np.full((TILE, TILE, 3), 128, np.uint8)
    truth = np.zeros((TILE, TILE), np.int64)
    truth[:50] = 2
    views = {
        "right": MethodView(truth, np.stack([truth == 0, truth == 2]).astype(np.float32)),
        "wrong": MethodView(np.full_like(truth, 1), np.stack([truth == 2, truth == 0]).astype(np.float32)),
    }
    grid = np.asarray(method_grid(image, truth, (0, 2), views, ("cat", "dog", "sky")))
    step, row = TILE + GAP, TILE + LINE + GAP
    tile = lambda column, line: grid[2 * LINE + line * row :, HEAD + column * step :][:TILE, :TILE]  # noqa: E731
    assert np.array_equal(tile(0, 0), tile(1, 0))  # the right mask looks as the ground truth
    assert not np.array_equal(tile(0, 0), tile(2, 0))
    assert (tile(0, 1)[80:] == 255).all()  # the larger class comes first
    assert (tile(0, 1)[:20] == 0).all()
    assert np.array_equal(tile(1, 1)[:20], tile(2, 1)[-20:])  # magma's lowest
    assert tile(1, 1)[100:].mean() > tile(1, 1)[:20].mean()


def test_one_method_alone_is_not_beside_others(results):
    assert not any(title.startswith("methods side by side") for title, _ in results.gallery.sections)


def test_an_image_that_cannot_be_read_is_not_shown(tmp_path):
    few = few_scenes(tmp_path / "few", 3)
    sorted((few / "images").iterdir())[0].write_bytes(b"no image")
    settings = ca_seg.EvaluationSettings(compare=["random-maps"], report=True)
    results = ca_seg.evaluate("mini", few, settings, device="cpu")
    title, items = results.gallery.sections[0]
    assert title.startswith("methods side by side: 2 of 2 images")
    assert len(items) == 2
    assert not results.complete
