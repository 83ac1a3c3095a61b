"""MaskCLIP, SCLIP, NACLIP, ProxyCLIP and TextSpan against their formulas, patch by patch and head by head."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch.nn.functional import interpolate, normalize

import ca_seg
from ca_seg.backbones.images import resize_in
from ca_seg.errors import OutOfRange, UserError, WeightsUnavailable
from ca_seg.methods.card import Weights
from ca_seg.methods.clip import proxyclip
from ca_seg.methods.clip.encoders import ClipEncoders, resolve_templates
from ca_seg.methods.clip.textspan import token_contributions
from ca_seg.optional import MissingExtra
from tests.methods.small import Small
from tests.methods.small_clip import (
    LAYERS,
    PATCH,
    SIDE,
    SlowImageEncoder,
    small_clip,
    small_encoders,
    small_guide,
    small_tokenizer,
    softmax,
)


def ready() -> dict:
    return {"model": small_clip(), "tokenizer": small_tokenizer()}


SMALL = {
    "maskclip": Small(ready),
    "sclip": Small(ready),
    "naclip": Small(ready),
    "textspan": Small(ready),
    "proxyclip": Small(lambda: {**ready(), "guide": small_guide()}),
    "clip-as-rnn": Small(ready),
}
GRID = SIDE // PATCH
WORDS = ["cat", "grass", "sky"]


def random_image(height: int = SIDE, width: int = SIDE, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(2)).to(dtype)


def maskclip_by_head(q, k, v):
    return v[1:]


def sclip_by_head(q, k, v):
    scale = q.shape[-1] ** 0.5
    return torch.stack([(softmax(q @ q[i] / scale) + softmax(k @ k[i] / scale)) @ v for i in range(1, len(q))])


def naclip_by_head(q, k, v):
    rows = []
    for i in range(len(k) - 1):
        near = torch.zeros(len(k)).to(k)
        for j in range(len(k) - 1):
            distance = (i // GRID - j // GRID) ** 2 + (i % GRID - j % GRID) ** 2
            near[1 + j] = torch.exp(torch.tensor(-distance / (2 * 5.0**2)))
        rows.append(softmax(k @ k[1 + i] / k.shape[-1] ** 0.5 + near) @ v)
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("name", "by_head", "residual"),
    [("maskclip", maskclip_by_head, True), ("sclip", sclip_by_head, True), ("naclip", naclip_by_head, False)],
)
def test_vectors_of_patches_are_those_of_the_formula(name, by_head, residual):
    model, image = small_clip().double(), random_image()
    slow = SlowImageEncoder(model, image[0])
    last, hidden = LAYERS - 1, slow.inputs[-2]
    parts = slow.heads(last, hidden)
    patches = slow.output(last, [by_head(q, k, v) for q, k, v in zip(parts["q"], parts["k"], parts["v"], strict=True)])
    if residual:
        patches = slow.feed_forward(last, hidden[1:] + patches)
    features = ca_seg.method(name, model=model, tokenizer=small_tokenizer()).predictor.features(image)
    assert features.shape == (1, 12, GRID, GRID)
    torch.testing.assert_close(features[0].flatten(1).T, slow.projected(patches))


def test_the_slow_image_encoder_is_clip():
    model, image = small_clip().double(), random_image()
    stock = model.visual_projection(model.vision_model(ClipEncoders(model, None).normalised(image)).pooler_output)
    slow = SlowImageEncoder(model, image[0])
    torch.testing.assert_close(slow.projected(slow.inputs[-1])[0], stock[0])


def test_proxyclip_attends_to_the_patches_that_the_guide_finds_alike():
    model, guide, image = small_clip().double(), small_guide().double(), random_image()
    mean, deviation = (image.new_tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    seen = normalize(guide((image - mean) / deviation).last_hidden_state[0, 1:], dim=-1)
    similar = seen @ seen.T
    fine = SIDE // 4
    slow = SlowImageEncoder(model, image[0])
    by_head = []
    for v in slow.heads(LAYERS - 1, slow.inputs[-2])["v"]:
        coarse = v[1:].T.reshape(1, -1, GRID, GRID)
        values = interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False).flatten(2)[0].T
        rows = []
        for i in range(fine**2):
            logits = 3.0 * (similar[i] - 1.2 * similar.mean())
            kept = [j for j in range(fine**2) if logits[j] >= 0 or j == i]
            rows.append(softmax(logits[kept]) @ values[kept])
        by_head.append(torch.stack(rows))
    expected = slow.projected(slow.output(LAYERS - 1, by_head))
    method = ca_seg.method("proxyclip", model=model, tokenizer=small_tokenizer(), guide=guide)
    features = method.predictor.features(image)
    assert features.shape == (1, 12, fine, fine)
    torch.testing.assert_close(features[0].flatten(1).T, expected)


def test_proxyclip_gives_finite_maps_of_an_image_of_one_colour():
    method = ca_seg.method("proxyclip", **SMALL["proxyclip"].inputs())
    assert method.predict(torch.full((3, SIDE, SIDE), 0.5), WORDS).isfinite().all()


@pytest.fixture(scope="module")
def naclip():
    return ca_seg.method("naclip", model=small_clip().double(), tokenizer=small_tokenizer())


def test_maps_are_the_softmax_of_the_mean_cosine_over_windows(naclip):
    """336 / 224 of the native side, in windows of the native side that overlap by half."""
    image, clip = random_image(48, 64), naclip.predictor.clip
    words = clip.phrase_vectors(WORDS)
    total, counts = torch.zeros(3, 48, 64), torch.zeros(48, 64)
    for top in (0, 16):
        for left in (0, 16, 32):
            window = image[..., top : top + SIDE, left : left + SIDE]
            cosines = torch.einsum("dhw,cd->chw", normalize(naclip.predictor.features(window).float(), dim=1)[0], words)
            part = interpolate(cosines[None], (SIDE, SIDE), mode="bilinear")[0]
            total[:, top : top + SIDE, left : left + SIDE] += part
            counts[top : top + SIDE, left : left + SIDE] += 1
    torch.testing.assert_close(naclip.predict(image, WORDS)[0], (40 * total / counts).softmax(dim=0))


def test_other_sizes_are_resized_first(naclip):
    image = random_image(40, 40)
    assert naclip.predict(image, WORDS).shape == (1, 3, 48, 48)
    torch.testing.assert_close(naclip.predict(image, WORDS), naclip.predict(resize_in(image, 48, PATCH), WORDS))


def test_maskclip_sees_the_whole_image():
    method = ca_seg.method("maskclip", **ready(), resolution=48)
    image = random_image(48, 64, torch.float32)
    cosines = torch.einsum(
        "bdhw,cd->bchw",
        normalize(method.predictor.features(image), dim=1),
        method.predictor.clip.phrase_vectors(WORDS),
    )
    torch.testing.assert_close(method.predict(image, WORDS), (100 * cosines).softmax(dim=1))


def test_a_class_has_the_probability_of_its_best_phrase(naclip):
    image = random_image()
    phrases = naclip.predict(image, ["cat", "kitten", "dog"])
    classes = naclip.predict(image, {"cat": ["cat", "kitten"], "dog": "dog"})
    torch.testing.assert_close(classes, torch.stack([phrases[:, :2].amax(dim=1), phrases[:, 2]], dim=1))


def slow_parts(model, image):
    """Every addend of the class token: attention by head and token [layers, heads, 1 + N, D], and the rest [., D]."""
    slow = SlowImageEncoder(model, image)
    attention, rest = [], [slow.inputs[0][0]]
    for layer in range(LAYERS):
        parts, hidden = slow.heads(layer, slow.inputs[layer]), slow.inputs[layer]
        name = f"encoder.layers.{layer}.self_attn.out_proj"
        columns = slow[f"{name}.weight"].chunk(len(parts["q"]), dim=1)
        added = []
        for q, k, v, out in zip(parts["q"], parts["k"], parts["v"], columns, strict=True):
            weights = softmax(k @ q[0] / q.shape[-1] ** 0.5)
            added.append(torch.stack([weights[j] * (out @ v[j]) for j in range(len(v))]))
        attention.append(torch.stack(added) + slow[f"{name}.bias"] / (len(added) * len(added[0])))
        between = hidden + slow.attention(layer, hidden)
        rest.append((slow.feed_forward(layer, between) - between)[0])
    return slow, torch.stack(attention), torch.stack(rest)


def test_textspan_splits_the_image_vector():
    model, image = small_clip().double(), random_image()
    slow, attention, rest = slow_parts(model, image[0])
    class_token = slow.inputs[-1][0]
    torch.testing.assert_close(attention.sum(dim=(0, 1, 2)) + rest.sum(dim=0), class_token)
    deviation = ((class_token - class_token.mean()) ** 2).mean().add(1e-5).sqrt()
    vector = slow.projected(class_token)
    gain, offset = slow["post_layernorm.weight"], slow["post_layernorm.bias"]
    addends = 2 * LAYERS + 1

    def through_the_norm(part, share):
        normed = gain * (part - share * class_token.mean()) / deviation + share * offset
        return normed @ slow.weights["visual_projection.weight"].T / vector.norm()

    heads, tokens = attention.shape[1:3]
    by_part = through_the_norm(attention, 1 / (addends * heads * tokens))
    whole = by_part.sum(dim=(0, 1, 2)) + through_the_norm(rest, 1 / addends).sum(dim=0)
    torch.testing.assert_close(whole, vector / vector.norm())  # nothing is lost
    contributions = token_contributions(ClipEncoders(model, None), image)[0]
    torch.testing.assert_close(contributions, by_part.sum(dim=(0, 1)).float())


def test_textspan_maps_are_parts_of_patches_times_words():
    method = ca_seg.method("textspan", **ready())
    image, clip = random_image(dtype=torch.float32), method.predictor.clip
    parts = token_contributions(clip, image)[:, 1:]
    expected = (parts @ clip.phrase_vectors(WORDS).T).transpose(1, 2).reshape(1, 3, GRID, GRID)
    torch.testing.assert_close(method.predict(image, WORDS), expected)
    assert method.predict(random_image(40, 72, torch.float32), WORDS).shape == (1, 3, GRID, GRID)


def test_words_are_the_mean_over_templates_of_unit_vectors():
    clip = small_encoders()
    templates = ["a photo of a {}", "the {}"]
    vectors = []
    for template in templates:
        tokens = clip.tokenizer([template.replace("{}", word) for word in WORDS], return_tensors="pt", padding=True)
        vectors.append(normalize(clip.model.get_text_features(**tokens).pooler_output, dim=-1))
    torch.testing.assert_close(clip.phrase_vectors(WORDS, templates), normalize(sum(vectors), dim=-1))
    single = clip.phrase_vectors(WORDS)
    torch.testing.assert_close(single, clip.phrase_vectors(WORDS, templates[:1]))
    torch.testing.assert_close(clip.phrase_vectors(["cat", "traffic light"])[0], single[0])  # whatever is beside it


def test_templates_of_a_method_change_its_words():
    image = random_image(dtype=torch.float32)
    one = ca_seg.method("sclip", **ready(), templates="the {}").predict(image, WORDS)
    other = ca_seg.method("sclip", **ready()).predict(image, WORDS)
    assert not torch.allclose(one, other)


def test_the_imagenet_templates_are_those_of_open_clip(monkeypatch):
    metadata = ModuleType("open_clip.zero_shot_metadata")
    metadata.OPENAI_IMAGENET_TEMPLATES = (lambda c: f"a bad photo of a {c}.", lambda c: f"a photo of many {c}.")
    monkeypatch.setitem(sys.modules, "open_clip", ModuleType("open_clip"))
    monkeypatch.setitem(sys.modules, "open_clip.zero_shot_metadata", metadata)
    assert resolve_templates("imagenet") == ("a bad photo of a {}.", "a photo of many {}.")


def test_the_imagenet_templates_need_open_clip(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingExtra, match=r"ca-seg\[methods\]"):
        ca_seg.method("sclip", **ready(), templates="imagenet")


@pytest.mark.parametrize("templates", [[], "a photo", ["{} and {}"]])
def test_a_template_without_one_place_is_refused(templates):
    with pytest.raises(UserError, match="template"):
        ca_seg.method("sclip", **ready(), templates=templates)


@pytest.mark.parametrize("name", SMALL)
def test_words_longer_than_the_text_encoder_are_refused_before_an_image_is_read(name):
    method = ca_seg.method(name, **SMALL[name].inputs())
    with pytest.raises(UserError, match="24 tokens"):
        method.predict("missing.jpg", ["cat", " ".join(["red"] * 30)])


def test_a_model_without_its_tokenizer_is_refused():
    with pytest.raises(UserError, match="tokenizer"):
        ca_seg.method("maskclip", model=small_clip())
    with pytest.raises(UserError, match="model"):
        ca_seg.method("maskclip", tokenizer=small_tokenizer())


def test_a_tokenizer_of_another_model_is_refused():
    from tests.tiny_text import tiny_tokenizer

    tokenizer = tiny_tokenizer(length=24, start="<s>", end="</s>", extra_words=tuple(f"w{i}" for i in range(90)))
    with pytest.raises(UserError, match="tokenizer"):
        ca_seg.method("maskclip", model=small_clip(), tokenizer=tokenizer).predict("missing.jpg", ["w80"])


def test_a_guide_that_does_not_fit_is_refused():
    with pytest.raises(UserError, match="guide"):
        ca_seg.method("proxyclip", **ready())
    with pytest.raises(UserError, match="Linear"):
        ca_seg.method("proxyclip", **ready(), guide=torch.nn.Linear(2, 2))
    with pytest.raises(UserError, match="divide"):
        ca_seg.method("proxyclip", **ready(), guide=small_guide(patch=16))


@pytest.mark.parametrize("name", SMALL)
def test_a_resolution_smaller_than_a_patch_is_refused(name):
    with pytest.raises(OutOfRange, match="8"):
        ca_seg.method(name, **SMALL[name].inputs(), resolution=PATCH - 1)


def test_published_weights_are_read_with_their_tokenizer(tmp_path, monkeypatch):
    """Folders in the layout of the hub stand for the repositories."""
    small_clip().save_pretrained(tmp_path / "clip")
    small_tokenizer().save_pretrained(tmp_path / "clip")
    small_guide().save_pretrained(tmp_path / "guide")
    monkeypatch.setattr(proxyclip, "VIT_B_16", Weights(str(tmp_path / "clip"), "MIT"))
    monkeypatch.setattr(proxyclip, "DINO_B_8", Weights(str(tmp_path / "guide"), "MIT"))
    image = random_image(dtype=torch.float32)
    expected = ca_seg.method("proxyclip", **SMALL["proxyclip"].inputs()).predict(image, WORDS)
    torch.testing.assert_close(ca_seg.method("proxyclip").predict(image, WORDS), expected)


@pytest.mark.parametrize("name", SMALL)
def test_weights_that_cannot_be_reached_are_named(name, monkeypatch):
    import transformers

    def unreachable(*args, **kwargs):
        raise OSError("no connection")

    monkeypatch.setattr(transformers.CLIPModel, "from_pretrained", unreachable)
    with pytest.raises(WeightsUnavailable, match=r"CLIP-ViT-H-14.*MIT|clip-vit-base-patch16.*MIT"):
        ca_seg.method(name)
