"""SMP's architectures on the shipped backbone: SMP's contract, and that nothing frozen is trained or saved."""

from __future__ import annotations

import copy
import re

import pytest
import segmentation_models_pytorch as smp
import torch
from torch.nn.functional import cross_entropy

import ca_seg.adapters.smp
from ca_seg import load_backbone
from ca_seg.adapters.smp import WIDTH, register
from ca_seg.backbones.loading.card import list_backbones
from ca_seg.errors import OutOfRange, UserError

ARCHITECTURES = tuple(smp.MODEL_ARCHITECTURES_MAPPING)
LEARNS = {"encoder", "decoder", "segmentation_head"}
register("narrow", backbone="mini", width=16)  # for speed
SMALL = {
    "unet": {"decoder_channels": (32, 16, 16, 8, 8)},
    "unetplusplus": {"decoder_channels": (32, 16, 16, 8, 8)},
    "manet": {"decoder_channels": (32, 16, 16, 8, 8)},
    "deeplabv3": {"decoder_channels": 32},
    "deeplabv3plus": {"decoder_channels": 32},
    "upernet": {"decoder_channels": 32},
    "dpt": {
        "encoder_name": "tu-narrow",
        "decoder_readout": "ignore",
        "decoder_intermediate_channels": (8, 16, 16, 16),
        "decoder_fusion_channels": 16,
    },
}
every_architecture = pytest.mark.parametrize("arch", ARCHITECTURES)


def build(arch, classes=3, **options):
    torch.manual_seed(0)
    usual = {"encoder_name": "narrow", "encoder_weights": None, "classes": classes}
    return smp.create_model(arch, **usual | SMALL.get(arch, {}) | options)


def encoder(**options):
    return smp.encoders.get_encoder("ca-mini", **options)


def backbone_of(model):
    encoder = getattr(model.encoder, "model", model.encoder)
    return encoder.source.backbone


def images(height=128, width=160, batch=2, seed=1):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("depth", [1, 3, 4, 5])
def test_the_encoder_gives_the_shapes_of_smps_own_resnet(depth, output_stride):
    """Also of an image that no stride divides."""
    ours, theirs = (smp.encoders.get_encoder(name, depth=depth, weights=None, output_stride=output_stride).eval()
                    for name in ("ca-mini", "resnet18"))  # fmt: skip
    assert ours.output_stride == theirs.output_stride
    assert len(ours.out_channels) == len(theirs.out_channels) == depth + 1
    for size in ((128, 192), (131, 167)):
        x = images(*size, batch=1)
        with torch.no_grad():
            maps, expected = ours(x), theirs(x)
        assert [m.shape[2:] for m in maps] == [e.shape[2:] for e in expected]
        assert [m.shape[1] for m in maps] == ours.out_channels == [3] + [WIDTH] * depth
        assert torch.equal(maps[0], x)


@every_architecture
def test_a_step_of_training_lowers_the_loss_as_its_gradient_says_and_changes_no_frozen_weight(arch):
    model = build(arch).train()
    before = {name: tensor.clone() for name, tensor in backbone_of(model).state_dict().items()}
    x, mask = images(), torch.randint(0, 3, (2, 128, 160), generator=torch.Generator().manual_seed(2))

    def loss():
        torch.manual_seed(3)  # the same dropout each time
        assert model(x).shape == (2, 3, 128, 160)
        return cross_entropy(model(x), mask)

    first = loss()
    first.backward()
    learnt = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {name.split(".")[0] for name in learnt} == (LEARNS - {"encoder"} if arch == "dpt" else LEARNS)
    assert arch == "dpt" or any(name.startswith("encoder.pyramid.entry") for name in learnt)
    squares = sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None)
    torch.optim.SGD(model.parameters(), lr=1e-5).step()
    assert float(first - loss()) == pytest.approx(1e-5 * squares, rel=0.3)  # to first order, as the gradient says
    for name, tensor in backbone_of(model).state_dict().items():
        assert torch.equal(tensor, before[name])


@every_architecture
def test_the_frozen_model_is_neither_saved_nor_listed_nor_trained(arch):
    model = build(arch).train()
    frozen = {id(p) for p in backbone_of(model).parameters()}
    assert frozen
    assert not frozen & {id(p) for p in model.parameters()}
    assert not any(type(m).__module__.startswith(("diffusers", "transformers")) for m in model.modules())
    assert all(key.startswith(("encoder.pyramid.", "decoder.", "segmentation_head.")) for key in model.state_dict())
    assert not any(module.training for module in backbone_of(model).modules())
    assert not any(parameter.requires_grad for parameter in backbone_of(model).parameters())
    twin = copy.deepcopy(model)
    assert backbone_of(twin) is backbone_of(model)
    assert not {id(p) for p in twin.parameters()} & {id(p) for p in model.parameters()}


@every_architecture
@torch.no_grad()
def test_a_saved_and_loaded_model_gives_the_same_logits(arch, tmp_path):
    model, x = build(arch), images(160, 128, batch=1)
    for parameter in model.parameters():  # so that fresh weights would give other logits
        parameter.add_(0.01)
    expected = model.eval()(x)
    assert expected.shape == (1, 3, 160, 128)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    by_state = build(arch)
    by_state.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    model.save_pretrained(tmp_path / "hub")
    by_hub = smp.from_pretrained(tmp_path / "hub")
    for again in (by_state, by_hub, copy.deepcopy(model)):
        assert torch.equal(again.eval()(x), expected)
    weights = sum(p.numel() * p.element_size() for p in model.state_dict().values())
    assert (tmp_path / "hub" / "model.safetensors").stat().st_size < weights + 100_000


@every_architecture
def test_sizes_are_accepted_and_rejected_as_by_smp(arch):
    model, x = build(arch).eval(), images(131, 167, batch=1)
    if model.requires_divisible_input_shape:
        with pytest.raises(RuntimeError, match=r"131.*167"):
            model(x)
    else:
        assert model(x).shape == (1, 3, 131, 167)


def test_an_image_has_the_same_features_alone_in_a_batch_and_again():
    model, x = encoder().eval(), images(batch=3)
    with torch.no_grad():
        whole, alone = model(x), model(x[1:2])
        for together, part in zip(whole, alone, strict=True):
            torch.testing.assert_close(together[1:2], part, atol=1e-4, rtol=1e-4)
        assert all(torch.equal(a, b) for a, b in zip(alone, model(x[1:2]), strict=True))


@torch.no_grad()
def test_a_compiled_model_gives_the_same_logits():
    model, x = build("linknet").eval(), images()
    torch.testing.assert_close(torch.compile(model, backend="eager")(x), model(x))


def test_every_card_is_registered_and_loaded_only_when_built(monkeypatch):
    assert {f"ca-{name}" for name in list_backbones()} <= set(smp.encoders.get_encoder_names())
    asked = []
    monkeypatch.setattr(ca_seg.adapters.smp, "load_backbone", lambda name: asked.append(name) or load_backbone("mini"))
    smp.create_model("unet", "ca-sd3.5-medium", encoder_weights=None)
    smp.create_model("dpt", "tu-ca-sd3_5-medium", encoder_weights=None, decoder_readout="ignore")
    assert asked == ["sd3.5-medium"] * 2


def test_smp_knows_that_images_are_not_normalised():
    for name in ("ca-mini", "tu-ca-mini"):
        parameters = smp.encoders.get_preprocessing_params(name)
        assert parameters == {"input_space": "RGB", "input_range": [0, 1], "mean": [0.0] * 3, "std": [1.0] * 3}
        image = (images(8, 8)[0].permute(1, 2, 0) * 255).byte().numpy()
        assert (smp.encoders.get_preprocessing_fn(name)(image) == image / 255).all()
    with pytest.raises(KeyError):
        smp.encoders.get_preprocessing_params("ca-nothing")


@pytest.mark.parametrize("batch", [images() * 255, (images() - 0.45) / 0.225, (images() * 255).byte()])
def test_images_out_of_range_raise(batch):
    with pytest.raises(OutOfRange, match="Normalize"):
        encoder()(batch)


def test_a_little_overshoot_is_clipped():
    model, x = encoder(depth=3), images()
    torch.testing.assert_close(model(x * 1.08 - 0.04)[3], model((x * 1.08 - 0.04).clamp(0, 1))[3])


def test_invalid_settings_raise():
    for depth in (0, 6):
        with pytest.raises(OutOfRange, match=rf"{depth}.*1 to 5"):
            encoder(depth=depth)
    with pytest.raises(OutOfRange, match="4"):
        encoder(output_stride=4)
    with pytest.raises(UserError, match=r"4.*mini.*3"):
        build("fpn", in_channels=4)
    with pytest.raises(UserError, match=r"4.*narrow.*3"):
        build("dpt", in_channels=4)
    with pytest.raises(KeyError, match=r"imagenet.*ca-mini"):
        build("fpn", encoder_name="ca-mini", encoder_weights="imagenet")
    with pytest.raises(UserError, match=r"encoder_weights.*narrow"):
        build("dpt", encoder_weights="imagenet")
    with pytest.raises(UserError, match="'ca-mini'"):
        build("unet", encoder_name="tu-ca-mini")
    with pytest.raises(UserError, match="output_stride=16"):
        encoder().make_dilated(16)
    for taken in ("resnet34", "tu-x", ""):
        with pytest.raises(UserError, match=re.escape(repr(taken))):
            register(taken, backbone="mini")
