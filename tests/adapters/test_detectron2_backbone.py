"""The frozen backbone inside detectron2's own SemanticSegmentor: its features are those of ca_seg."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from ca_seg import Vocabulary, load_backbone
from ca_seg.errors import OutOfRange, UnknownName, UserError
from ca_seg.resources import resource_path
from tests.small_detectron2 import HALF, IMAGENET, REASON, small_config

pytest.importorskip("detectron2", reason=REASON)

from detectron2.data import DatasetMapper
from detectron2.modeling import build_model

from ca_seg.adapters.detectron2.backbone import FrozenBackbone, at_cells
from ca_seg.adapters.normalised import Normalised

SCENES = sorted((resource_path("datasets", "scenes") / "images").iterdir())[:2]


@pytest.fixture(scope="module")
def mini():
    return load_backbone("mini")


@pytest.fixture(scope="module")
def sizes(tmp_path_factory) -> list:
    """A scene, and pieces of another: 128 x 128, 128 x 96, 100 x 128 (height x width), with a black border."""
    folder = tmp_path_factory.mktemp("sizes")
    files = [SCENES[0]]
    for height, width in ((128, 96), (100, 128)):
        pixels = np.array(Image.open(SCENES[1]).convert("RGB"))[:height, :width].copy()
        pixels[-8:] = 0
        files.append(folder / f"{height}x{width}.png")
        Image.fromarray(pixels).save(files[-1])
    return files


def backbone_output(model, cfg, files) -> dict[str, torch.Tensor]:
    """The output of the backbone inside the whole model, fed by detectron2's own reader and mapper."""
    mapper = DatasetMapper(cfg, is_train=False)
    outputs: list = []
    hook = model.backbone.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    with torch.no_grad():
        model([mapper({"file_name": str(file)}) for file in files])
    hook.remove()
    return outputs[0]


def config_of_sizes(order: str, colours) -> object:
    cfg = small_config(order, colours, pyramid=False)
    cfg.INPUT.MIN_SIZE_TEST = 0  # images as they are
    return cfg


def naive(backbone, file, layers=(1, 2)) -> torch.Tensor:
    """Image attention outputs of the RGB file [1, channels, h, w], every channel divided by its root mean square."""
    recording = backbone.record(Image.open(file).convert("RGB"), layers=layers)
    channels = []
    for layer in layers:
        output = recording.streams[layer].output[0]  # [heads, N, d]
        for head in output:
            for channel in head.T:
                channels.append(channel / (channel**2).mean().sqrt())
    return torch.stack(channels).unflatten(1, (recording.grid.height, recording.grid.width))[None]


@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("colours", [IMAGENET, HALF], ids=["imagenet", "half"])
def test_features_are_those_of_the_rgb_image(mini, order, colours):
    cfg = small_config(order, colours, pyramid=False)
    outputs = backbone_output(build_model(cfg).eval(), cfg, SCENES)["tokens"]
    for output, file in zip(outputs, SCENES, strict=True):
        torch.testing.assert_close(output[None], at_cells(naive(mini, file), 128, 128, 8), atol=1e-5, rtol=1e-5)


def test_swapped_channels_change_the_features(mini, tmp_path):
    """The comparison above can fail: the same scene with red and blue exchanged has other features."""
    Image.fromarray(np.array(Image.open(SCENES[0]).convert("RGB"))[:, :, ::-1]).save(tmp_path / "swapped.png")
    assert (naive(mini, tmp_path / "swapped.png") - naive(mini, SCENES[0])).abs().max() > 0.1


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_an_images_features_do_not_depend_on_its_batch(mini, sizes, order):
    cfg = config_of_sizes(order, IMAGENET)
    model = build_model(cfg).eval()
    together = backbone_output(model, cfg, sizes)["tokens"]
    assert together.shape[2:] == (16, 16)
    for features, file, (rows, columns) in zip(together, sizes, ((16, 16), (16, 12), (13, 16)), strict=True):
        alone = backbone_output(model, cfg, [file])["tokens"][0]
        torch.testing.assert_close(features[:, :rows, :columns], alone[:, :rows, :columns], atol=1e-5, rtol=1e-5)
        assert not features[:, rows:].any()
        assert not features[:, :, columns:].any()
    for features, file, size, tokens in (
        (together[1], sizes[1], (128, 96), (43, 32)),
        (together[2], sizes[2], (100, 128), (32, 41)),
    ):
        expected = naive(mini, file)  # tokens of the short side scaled to the card's 256 pixels
        assert expected.shape[2:] == tokens
        laid = at_cells(expected, *size, 8)[0]
        torch.testing.assert_close(features[:, : laid.shape[1], : laid.shape[2]], laid, atol=1e-5, rtol=1e-5)


def test_cells_are_interpolated_at_their_centres():
    features = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    height, width, stride = 37, 61, 8
    cells = at_cells(features, height, width, stride)
    assert cells.shape == (2, 3, 5, 8)
    for row in range(5):
        for column in range(8):
            y = min(max(min((row + 0.5) * stride, height) / height * 5 - 0.5, 0), 4)
            x = min(max(min((column + 0.5) * stride, width) / width * 7 - 0.5, 0), 6)
            top, left = int(y), int(x)
            low, right = min(top + 1, 4), min(left + 1, 6)
            above = features[:, :, top, left] * (1 - x + left) + features[:, :, top, right] * (x - left)
            below = features[:, :, low, left] * (1 - x + left) + features[:, :, low, right] * (x - left)
            torch.testing.assert_close(cells[:, :, row, column], above * (1 - y + top) + below * (y - top))
    assert at_cells(features, 40, 56, 8) is features


def test_projected_features_of_words(mini):
    cfg = small_config(pyramid=False)
    cfg.MODEL.CA_SEG.merge_from_list(
        ["PARTS", ["concepts"], "CONCEPTS", ["cat", "grass", "sky"], "NORMALISE", "none", "LAYERS", []]
    )
    model = build_model(cfg).eval()
    features = backbone_output(model, cfg, SCENES[:1])["tokens"]
    words = Vocabulary.from_names(["cat", "grass", "sky"])
    expected = mini.record(Image.open(SCENES[0]).convert("RGB")).ask(words).projected()
    assert model.backbone.output_shape()["tokens"].channels == expected.shape[1] == features.shape[1]
    torch.testing.assert_close(features, at_cells(expected, 128, 128, 8), atol=1e-5, rtol=1e-5)


def test_the_backbone_is_frozen_and_in_no_checkpoint():
    model = build_model(small_config()).train()
    dit = model.backbone.net.source.backbone
    assert not dit.training
    assert not any(parameter.requires_grad for parameter in dit.parameters())
    frozen = {id(parameter) for parameter in dit.parameters()}
    assert frozen.isdisjoint(id(parameter) for parameter in model.parameters())
    assert all(name.startswith(("backbone.simfp_", "sem_seg_head.")) for name in model.state_dict())
    assert copy.deepcopy(model).backbone.net.source is model.backbone.net.source
    plain = build_model(small_config(pyramid=False))
    assert not list(plain.backbone.parameters())
    assert not plain.backbone.state_dict()


def test_moving_the_module_keeps_types_and_weights():
    net = build_model(small_config(pyramid=False)).backbone
    dit = net.source.backbone
    net.to(torch.float64)
    assert dit.dtype == torch.float32
    net.to("meta")
    assert dit.device.type == "cpu"


def test_features_are_the_same_every_time_also_under_autocast():
    cfg = small_config(pyramid=False)
    net = build_model(cfg).backbone
    batch = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    first = net(batch)["tokens"]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net(batch)["tokens"], first)
    torch.testing.assert_close(net(batch[1:])["tokens"], first[1:], atol=1e-5, rtol=1e-5)
    assert not first.requires_grad
    cfg.MODEL.CA_SEG.SEED = 1
    assert not torch.allclose(build_model(cfg).backbone(batch)["tokens"], first, atol=1e-3)


def test_shapes_are_what_output_shape_says():
    model = build_model(small_config())
    features = model.backbone(torch.randn(1, 3, 128, 192))
    shapes = model.backbone.output_shape()
    assert list(features) == list(shapes) == ["p2", "p3", "p4", "p5"]
    for name, stride in (("p2", 4), ("p3", 8), ("p4", 16), ("p5", 32)):
        assert shapes[name].stride == stride
        assert features[name].shape == (1, shapes[name].channels, 128 // stride, 192 // stride)
    assert model.backbone.size_divisibility == model.backbone.padding_constraints["size_divisibility"] == 32
    assert model.backbone.net.size_divisibility == model.backbone.net.padding_constraints["size_divisibility"] == 8


def test_a_stride_of_16_gives_the_same_levels():
    cfg = small_config()
    cfg.MODEL.CA_SEG.STRIDE = 16
    backbone = build_model(cfg).backbone
    features = backbone(torch.randn(1, 3, 128, 128))
    assert {name: map.shape[-1] for name, map in features.items()} == {"p2": 32, "p3": 16, "p4": 8, "p5": 4}


def test_the_whole_model_takes_an_image_of_no_whole_cells(sizes):
    cfg = config_of_sizes("BGR", IMAGENET)
    for pyramid in (False, True):
        if pyramid:
            cfg = small_config()
            cfg.INPUT.MIN_SIZE_TEST = 0
        model = build_model(cfg).eval()
        with torch.no_grad():
            scores = model([DatasetMapper(cfg, is_train=False)({"file_name": str(sizes[2])})])[0]["sem_seg"]
        assert scores.shape == (54, 100, 128)


@pytest.mark.parametrize(
    ("change", "kind", "values"),
    [
        (["MODEL.CA_SEG.BACKBONE", "minni"], UnknownName, "'minni'.*'mini'"),
        (["MODEL.CA_SEG.PARTS", ["output"]], UnknownName, "'output'"),
        (["MODEL.CA_SEG.PARTS", ["maps"]], UserError, "'maps'"),
        (["MODEL.CA_SEG.CONCEPTS", ["cat", "xqzzw"]], UserError, "xqzzw"),
        (["MODEL.CA_SEG.NORMALISE", "layer"], UnknownName, "'layer'"),
        (["MODEL.CA_SEG.LAYERS", [9]], OutOfRange, r"\[9\].*0 to 5"),
        (["MODEL.CA_SEG.LAYERS", ["2"]], OutOfRange, r"LAYERS \['2'\]"),
        (["MODEL.CA_SEG.TIMESTEPS", [1.5]], OutOfRange, r"1\.5"),
        (["MODEL.CA_SEG.STRIDE", 4], OutOfRange, "4.*8, 16"),
        (["MODEL.CA_SEG.STRIDE", -8], OutOfRange, "-8"),
        (["INPUT.FORMAT", "L"], UnknownName, "'L'"),
        (["MODEL.PIXEL_MEAN", [0.0, 0.0, 0.0]], OutOfRange, r"\[0\.0, 0\.0, 0\.0\]"),
    ],
)
def test_wrong_values_are_named(change, kind, values):
    cfg = small_config()
    cfg.merge_from_list(change)
    with pytest.raises(kind, match=values):
        build_model(cfg)


def test_the_former_key_of_noise_samples_is_read():
    cfg = small_config(pyramid=False)
    cfg.MODEL.CA_SEG.NOISE_SAMPLES = 2
    assert build_model(cfg).backbone.source.readout.noise_samples == 2
    cfg = small_config(pyramid=False)
    cfg.merge_from_list(["MODEL.CA_SEG.SAMPLES", 3])
    with pytest.warns(FutureWarning, match="NOISE_SAMPLES") as warned:
        model = build_model(cfg)
    assert model.backbone.source.readout.noise_samples == 3
    assert len([warning for warning in warned if "NOISE_SAMPLES" in str(warning.message)]) == 1


def test_keys_are_typed_and_known():
    cfg = small_config()
    with pytest.raises(ValueError, match=r"CA_SEG\.LAYERS"):
        cfg.merge_from_list(["MODEL.CA_SEG.LAYERS", "two"])
    with pytest.raises((KeyError, AssertionError), match="LAYER"):
        cfg.merge_from_list(["MODEL.CA_SEG.LAYER", [2]])


def test_any_feature_source_can_be_used():
    """The source need not be a diffusion transformer; a baseline will do."""

    class Brightness:
        name, channels, maps, stride = "brightness", 1, 0, 2
        device = torch.device("cpu")

        def __call__(self, images, seeds):
            return images.mean(dim=1, keepdim=True)[:, :, ::2, ::2]

        def identity(self):
            return {"name": self.name}

        def to(self, device):
            pass

    net = FrozenBackbone(Brightness(), Normalised("BGR", *IMAGENET), stride=2)
    assert net(torch.randn(2, 3, 6, 8))["tokens"].shape == (2, 1, 3, 4)
