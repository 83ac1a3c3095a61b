"""Edits by words: what stays, what repeats, what is refused. The mask's words are mini's; pipelines are tiny."""

from __future__ import annotations

import inspect
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import (
    FluxFillPipeline,
    FluxInpaintPipeline,
    FluxKontextInpaintPipeline,
    FluxTransformer2DModel,
    QwenImageEditInpaintPipeline,
    QwenImageInpaintPipeline,
    StableDiffusion3InpaintPipeline,
)
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image

import ca_seg
from ca_seg.backbones.families.registry import FAMILIES, find_family
from ca_seg.backbones.generate import encoded_prompt
from ca_seg.backbones.load import backbone_of, load_backbone
from ca_seg.backbones.loading.partial import skip_later_blocks
from ca_seg.errors import BadMask, OutOfRange, UnknownName, UserError
from ca_seg.jobs.edit import edit
from ca_seg.jobs.edit_settings import EditSettings
from ca_seg.resources import resource_path
from tests.small_models import small_model
from tests.stock_run import recorded_calls
from tests.tiny_chat_pipelines import tiny_qwen_edit_inpaint
from tests.tiny_families import Run
from tests.tiny_pipelines import tiny_flux

SCENE = resource_path("datasets", "scenes", "images", "scene_0000.png")  # a sailboat on wood
PIXELS = np.asarray(Image.open(SCENE).convert("RGB"))
IMAGES = [name for name in FAMILIES if not find_family(name).video and find_family(name).takes_encoded_prompts]
FEW, ONE = EditSettings(steps=2), EditSettings(steps=1)


@pytest.fixture(scope="module")
def mini():
    return load_backbone("mini")


@pytest.fixture(scope="module")
def replaced(mini):
    return edit(SCENE, FEW, replace="sailboat", by="an apple", backbone=mini)


def _photograph(height: int = 61, width: int = 103) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _square(height: int = 61, width: int = 103) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[20:35, 30:60] = True
    return mask


def test_the_mask_is_that_of_segment_and_the_rest_stays_byte_for_byte(mini, replaced):
    segmentation = ca_seg.segment(SCENE, "sailboat", backbone=mini)
    assert (replaced.mask == (segmentation.mask == 0)).all()
    assert 0.05 < replaced.mask.mean() < 0.15
    outside = ~replaced.region.inside
    assert (replaced.edited[outside] == PIXELS[outside]).all()
    assert (replaced.edited != PIXELS).any(axis=2)[replaced.mask].mean() > 0.9
    assert replaced.prompt == "an apple"


def test_the_same_seed_gives_the_same_picture_and_another_seed_another(mini, replaced):
    again = edit(SCENE, FEW, replace="sailboat", by="an apple", backbone=mini)
    assert (again.edited == replaced.edited).all()
    mask = replaced.mask.astype(np.uint8)
    other = edit(SCENE, replace(FEW, seed=1), replace="sailboat", by="an apple", backbone=mini, mask=mask)
    assert (other.edited != replaced.edited).any()


def test_the_written_mask_given_back_gives_the_same_picture(mini, replaced, tmp_path):
    paths = replaced.save(tmp_path)
    assert [path.name for path in paths] == ["scene_0000_mask.png", "scene_0000_overlay.png", "scene_0000_edited.png"]
    assert (np.asarray(Image.open(paths[2])) == replaced.edited).all()
    mask = Image.open(paths[0])
    assert (mask.mode, set(np.unique(np.asarray(mask)))) == ("L", {0, 255})
    again = edit(SCENE, FEW, replace="sailboat", by="an apple", backbone=mini, mask=paths[0])
    assert again.segmentation is None
    assert (again.edited == replaced.edited).all()
    assert paths[0] not in again.save(tmp_path, inputs=(paths[0],))
    with pytest.raises(UserError, match="was given"):
        again.save(tmp_path, inputs=(paths[2],))


def test_remove_paints_the_background_word_around_it(mini):
    result = edit(SCENE, FEW, remove="sailboat", background=["wood", "grass"], backbone=mini)
    assert result.prompt == "wood"
    assert edit(SCENE, FEW, remove="sailboat", by="snow", backbone=mini).prompt == "snow"


def test_keep_blanks_the_rest_in_white_and_recolor_paints_without_a_model(mini):
    kept = edit(SCENE, keep="sailboat", backbone=mini, feather=0)
    assert (kept.edited[kept.mask] == PIXELS[kept.mask]).all()
    assert (kept.edited[~kept.mask] == 255).all()
    red = edit(SCENE, recolor="sailboat", by="#ff0000", backbone=mini, feather=0)
    assert (red.edited[~red.mask] == PIXELS[~red.mask]).all()
    assert (red.edited[red.mask].argmax(axis=1) == 0).mean() > 0.9
    painted = edit(SCENE, FEW, keep="sailboat", by="grass", backbone=mini, feather=0)
    assert (painted.edited[painted.mask] == PIXELS[painted.mask]).all()
    assert painted.prompt == "grass"


def test_only_the_mask(mini):
    result = edit(SCENE, EditSettings(mask_only=True), replace="sailboat", backbone=mini)
    assert result.edited is None
    with pytest.raises(UserError, match="only the mask"):
        _ = result.image


@pytest.mark.parametrize("name", IMAGES)
def test_every_family_of_images_edits_inside_the_mask_alone_and_repeats(name):
    run = Run(name)
    photograph, mask = _photograph(), _square()
    first, second = (
        edit(photograph, ONE, replace="cat", by="a photo of a cat", mask=mask, grow=2, backbone=run.backbone).edited
        for _ in range(2)
    )
    grown = np.zeros_like(mask)
    grown[18:37, 28:62] = True
    assert first.shape == photograph.shape
    assert (first[~grown] == photograph[~grown]).all()
    assert (first != photograph).any(axis=2)[mask].mean() > 0.9
    assert (first == second).all()


def _fill_pipeline(components):
    """FLUX.1-Fill's transformer also takes the masked photograph (16 channels here) and 64 pixels of mask for 2 x 2."""
    config = small_model(find_family("flux")).config | {"in_channels": 16 + 16 + 4 * 64, "out_channels": 16}
    torch.manual_seed(0)
    parts = {name: part for name, part in components.items() if name not in ("image_encoder", "feature_extractor")}
    return FluxFillPipeline(**parts | {"transformer": FluxTransformer2DModel(**config).eval()})


def test_a_pipeline_of_the_users_own_takes_the_mask(tmp_path):
    pipeline, card, _ = tiny_flux()
    backbone = backbone_of(pipeline, card, resolution=48)
    photograph, mask = _photograph(), _square()
    ask = {"replace": "cat", "by": "a cat", "mask": mask, "backbone": backbone}
    kinds = (FluxInpaintPipeline, FluxKontextInpaintPipeline)
    for pipeline_given in (*(kind(**pipeline.components) for kind in kinds), _fill_pipeline(pipeline.components)):
        pipeline_given.set_progress_bar_config(disable=True)
        result = edit(photograph, FEW, **ask, pipeline=pipeline_given)
        assert (result.edited[~result.region.inside] == photograph[~result.region.inside]).all()
        assert (result.edited != photograph).any(axis=2)[mask].mean() > 0.9
    FluxInpaintPipeline(**pipeline.components).save_pretrained(tmp_path / "own")
    read = edit(photograph, FEW, **ask, pipeline=str(tmp_path / "own"))
    shared = edit(photograph, FEW, **ask, pipeline=FluxInpaintPipeline(**pipeline.components))
    assert (read.edited == shared.edited).all()
    with pytest.raises(UserError, match="image and mask_image"):
        edit(photograph, FEW, **ask, pipeline=pipeline)
    pipeline.save_pretrained(tmp_path / "text")
    with pytest.raises(UserError, match="FluxPipeline"):
        edit(photograph, FEW, **ask, pipeline=str(tmp_path / "text"))


@pytest.mark.parametrize(
    ("family", "kind"), [("sd3", StableDiffusion3InpaintPipeline), ("qwen-image", QwenImageInpaintPipeline)]
)
def test_a_pipeline_of_the_users_own_paints_what_the_family_paints(family, kind, monkeypatch):
    """Also SD3's, whose own decoding leaves out the shift of the autoencoder."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    run = Run(family)
    if family == "sd3":  # its default pads the text to another length than the tiny backbone does
        text = [encoded_prompt(run.backbone, prompt) for prompt in ("a photo of a cat", "")]
        embeds = run.family.prompt_arguments(*text)
        names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
        monkeypatch.setattr(kind, "encode_prompt", lambda self, **_: tuple(embeds[name] for name in names))
    parts = inspect.signature(kind.__init__).parameters
    given_pipeline = kind(**{name: part for name, part in run.pipeline.components.items() if name in parts})
    given_pipeline.set_progress_bar_config(disable=True)
    mask = np.zeros((48, 80), bool)
    mask[16:32, 32:64] = True  # whole tokens: the two round others differently
    ask = {"replace": "cat", "by": "a photo of a cat", "mask": mask, "grow": 0, "backbone": run.backbone}
    guided = EditSettings(steps=4, strength=0.5, guidance=4.0)
    photograph = _photograph(48, 80)
    ours, given = (edit(photograph, guided, **ask, pipeline=pipeline) for pipeline in (None, given_pipeline))
    assert (given.edited[~given.region.inside] == photograph[~given.region.inside]).all()
    assert np.abs(given.edited.astype(int) - ours.edited).max() <= 2


def test_qwen_image_edit_takes_the_mask_and_is_guided(monkeypatch):
    """It paints at a megapixel, whatever the photograph's size: here at 96 x 96."""
    module = sys.modules[QwenImageEditInpaintPipeline.__module__]
    size = module.calculate_dimensions
    monkeypatch.setattr(module, "calculate_dimensions", lambda _, ratio: size(96 * 96, ratio))
    pipeline_given = tiny_qwen_edit_inpaint()
    pipeline_given.set_progress_bar_config(disable=True)
    backbone, photograph, mask = Run("qwen-image").backbone, _photograph(), _square()
    edits = {}
    for guidance in (1.0, 4.0):
        with recorded_calls(pipeline_given.transformer) as calls:
            settings = EditSettings(steps=2, guidance=guidance)
            edits[guidance] = edit(
                photograph, settings, replace="cat", by="a cat", mask=mask, backbone=backbone, pipeline=pipeline_given
            )
        assert len(calls) == (2 if guidance == 1 else 4)  # with the text, and without it
        (latents,) = {call["hidden_states"].shape[1] for call in calls}
        shapes = calls[0]["img_shapes"][0]
        assert latents == sum(height * width for _, height, width in shapes)  # the photograph again, as reference
        outside = ~edits[guidance].region.inside
        assert (edits[guidance].edited[outside] == photograph[outside]).all()
        assert (edits[guidance].edited != photograph).any(axis=2)[mask].mean() > 0.9
    assert (edits[1.0].edited != edits[4.0].edited).any()


def test_the_guidance_argument_of_a_users_pipeline_is_the_one_that_it_uses():
    from ca_seg.editing.inpainting import guidance_argument

    assert guidance_argument(QwenImageEditInpaintPipeline) == "true_cfg_scale"
    assert guidance_argument(FluxInpaintPipeline) == guidance_argument(FluxFillPipeline) == "guidance_scale"


BAD_OPTIONS = [
    ({}, "nothing to do"),
    ({"replace": "cat", "remove": "dog", "by": "sky"}, "replace and remove"),
    ({"replace": "sailboat"}, "without by"),
    ({"recolor": "sailboat"}, "without by"),
    ({"recolor": "sailboat", "by": "greenish"}, "greenish"),
    ({"replace": "sailboat", "by": " "}, "by is"),
    ({"replace": "sailboat", "by": "a cat", "grow": -1}, "grow"),
    ({"replace": "sailboat", "by": "a cat", "feather": 1000}, "feather"),
    ({"replace": "sailboat", "by": "a cat", "settings": EditSettings(strength=0.0)}, "strength"),
    ({"keep": "sailboat", "settings": EditSettings(colors={"sailboat": "red"})}, "colors"),
    ({"keep": "sailboat", "settings": EditSettings(steps=3)}, "no model paints"),
    ({"replace": "flibbertigibbet", "by": "a cat"}, "flibbertigibbet"),
    ({"replace": "sailboat", "by": "a flibbertigibbet"}, "flibbertigibbet"),
    ({"replace": "sailboat", "by": " ".join(["cat"] * 600)}, "512"),
    ({"replace": "sailboat", "by": "a cat", "background": "flibbertigibbet"}, "flibbertigibbet"),
    ({"replace": "sailboat", "by": "a cat", "pipeline": "no/such/folder"}, "no/such/folder"),
    ({"replace": "sailboat", "by": "a cat", "pipeline": 3}, "image and mask_image"),
    ({"replace": "sailboat", "by": "a cat", "backbone": "hunyuan-video"}, "mask_only"),
    ({"replace": "sailboat", "by": "a cat", "backbone": "longcat-image"}, "mask_only"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS, ids=lambda value: value if isinstance(value, str) else "")
def test_what_cannot_be_done_is_said_before_weights_are_read(options, message, monkeypatch):
    monkeypatch.setattr("ca_seg.predictors.settings.load_backbone", lambda *a, **k: pytest.fail("weights are read"))
    options = {"backbone": "mini"} | options
    with pytest.raises(UserError, match=message):
        edit(SCENE, options.pop("settings", None), **options)


BAD_MASKS = [
    (np.ones((128, 127), bool), BadMask, "127 x 128"),
    (np.ones((128, 128, 3), bool), BadMask, "shape"),
    (np.ones((128, 128)), BadMask, "float"),
    (Image.new("RGB", (128, 128)), BadMask, "RGB"),
    (np.zeros((128, 128), bool), BadMask, "0 everywhere"),
]


@pytest.mark.parametrize(("mask", "error", "message"), BAD_MASKS, ids=[message for *_, message in BAD_MASKS])
def test_a_mask_that_does_not_fit_is_refused(mask, error, message, monkeypatch):
    monkeypatch.setattr("ca_seg.predictors.settings.load_backbone", lambda *a, **k: pytest.fail("weights are read"))
    with pytest.raises(error, match=message):
        edit(SCENE, replace="sailboat", by="a cat", mask=mask, backbone="mini")


def test_words_without_a_pixel_and_a_photograph_that_is_kept_whole_are_refused(mini):
    with pytest.warns(ca_seg.WordsWarning), pytest.raises(UserError, match="no pixel"):
        edit(SCENE, replace="penguin", by="a cat", background=["wood", "sailboat"], backbone=mini)
    with pytest.raises(UserError, match="all of it is kept"):
        edit(SCENE, keep="sailboat", grow=200, backbone=mini)


def test_several_images_and_numbers_out_of_range_are_refused(mini):
    with pytest.raises(UserError, match="several images"):
        edit([SCENE, SCENE], replace="sailboat", by="a cat", backbone=mini)
    with pytest.raises(OutOfRange):
        edit(SCENE, EditSettings(steps=0), replace="sailboat", by="a cat", backbone=mini)
    with pytest.raises(UnknownName):
        edit(SCENE, replace="sailboat", by="a cat", backbone="minni")


def test_a_prompt_that_is_too_long_for_the_text_encoder_is_refused():
    run = Run("flux")
    with pytest.raises(UserError, match="tokens"):
        edit(_photograph(), FEW, replace="cat", by=" ".join(["cat"] * 50), mask=_square(), backbone=run.backbone)


def test_a_folder_that_names_code_of_its_own_is_not_opened(tmp_path):
    index = {"_class_name": "FluxInpaintPipeline", "transformer": ["my_code", "MyTransformer"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(UserError, match=r"my_code\.MyTransformer"):
        edit(SCENE, replace="sailboat", by="a cat", backbone="mini", pipeline=str(tmp_path))


def test_a_backbone_without_its_last_blocks_cannot_paint_and_says_how_it_can():
    pipeline, card, _ = tiny_flux()
    backbone = backbone_of(pipeline, card, resolution=48)
    skip_later_blocks(backbone.family, backbone.transformer, 3)
    with pytest.raises(UserError, match="last_layer=4"):
        edit(_photograph(), replace="cat", by="a dog", backbone=backbone)
    assert edit(_photograph(), recolor="cat", by="red", mask=_square(), backbone=backbone).edited is not None
