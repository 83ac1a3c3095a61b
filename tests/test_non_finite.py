"""NaN and infinity, anywhere between weights and maps, end a job with a line that names the file."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import ca_seg
from ca_seg.cli.main import main
from ca_seg.errors import CorruptWeights, UserError
from ca_seg.heads.trained import load_head
from ca_seg.resources import resource_path

WEIGHTS = "diffusion_pytorch_model.safetensors"
PHOTO = str(resource_path("datasets", "photographs") / "images" / "000000000471.jpg")


@pytest.fixture(scope="module", params=[float("nan"), float("inf")], ids=str)
def weights(request, tmp_path_factory):
    """The weights of mini, one of which is not finite."""
    folder = tmp_path_factory.mktemp("weights") / "mini"
    shutil.copytree(resource_path("checkpoints", "mini"), folder)
    tensors = load_file(folder / "transformer" / WEIGHTS)
    tensors[next(name for name in tensors if "to_q" in name)].view(-1)[7] = request.param
    save_file(tensors, folder / "transformer" / WEIGHTS)
    return folder


def test_weights_are_refused_by_the_api_and_by_commands(weights, capsys, tmp_path):
    with pytest.raises(CorruptWeights, match=WEIGHTS):
        ca_seg.load_backbone("mini", weights=weights)
    shared = [
        "--backbone",
        "mini",
        "--weights",
        str(weights),
        "--out",
        str(tmp_path / "out"),
        "--concepts",
        "cat",
        "grass",
    ]
    for command in (["segment", PHOTO], ["video", str(tmp_path)]):
        if command[0] == "video":
            shutil.copy(PHOTO, tmp_path / "0.jpg")
        assert main([*command, *shared]) == 2
        assert WEIGHTS in capsys.readouterr().err


def test_a_model_that_turns_non_finite_gives_no_maps():
    backbone = ca_seg.load_backbone("mini")
    with torch.no_grad():
        next(p for name, p in backbone.transformer.named_parameters() if "to_q" in name).view(-1)[7] = float("nan")
    image = torch.rand(1, 3, 64, 64)
    with pytest.raises(CorruptWeights):
        backbone.maps(image, ["cat", "grass"])
    with pytest.raises(CorruptWeights):
        backbone.record(image).ask(["cat", "grass"]).maps()


def test_an_image_that_is_not_finite_or_not_in_0_to_1_is_refused():
    backbone = ca_seg.load_backbone("mini")
    for image in (torch.rand(3, 64, 64) * 255, torch.randn(3, 64, 64), torch.full((3, 64, 64), float("nan"))):
        with pytest.raises(UserError, match="values from"):
            backbone.maps(image, ["cat", "grass"])


def test_a_head_that_is_not_finite_is_refused(tmp_path):
    folder = tmp_path / "head"
    shutil.copytree(resource_path("checkpoints", "heads", "mini-scenes-linear"), folder)
    tensors = load_file(folder / "model.safetensors")
    next(x for x in tensors.values() if x.is_floating_point()).view(-1)[0] = float("nan")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CorruptWeights, match=r"model\.safetensors"):
        load_head(folder)
