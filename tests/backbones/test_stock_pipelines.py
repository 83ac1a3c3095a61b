"""The contract of every family with its stock pipeline: tiny encoders and models of the real classes, real generations.

Details of single families are tested in separate files.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ca_seg import Vocabulary
from ca_seg.backbones.families.registry import FAMILIES
from ca_seg.backbones.generate import generate
from ca_seg.backbones.load import backbone_of
from ca_seg.backbones.trace import GenerationTrace
from ca_seg.concept.record import record_streams
from ca_seg.concept.recording import Recording
from ca_seg.errors import UserError
from tests.tiny_families import TINY, Run
from tests.tiny_pipelines import tiny_flux

PROMPT = "a photo of a cat"
WORDS = Vocabulary.from_names(["cat", "traffic light", "grass"])


CONCEPT_INPUTS = {
    "auraflow": {"timestep", "hidden_states"},
    "hunyuan-video": {"timestep", "guidance", "hidden_states"},
    "mochi": {"timestep", "hidden_states", "pooled_prompt"},
    "hunyuan-image": {"timestep", "timestep_r", "guidance", "hidden_states"},
}


@pytest.fixture(scope="module", params=FAMILIES)
def run(request):
    """One for all tests of a family: making it takes longer than most of them."""
    if request.param not in TINY:
        pytest.fail(f"the family {request.param} has no tiny stock pipeline: add one to tests/tiny_families.py")
    return Run(request.param)


def per_step(calls):
    """The prompt's call of each of the two steps: the first of a step where a negative prompt follows."""
    return calls[:: len(calls) // 2]


@torch.no_grad()
def test_arguments_equal_those_of_the_stock_pipeline(run):
    """For the latents and the noise level of each stock step, our arguments equal the pipeline's, one by one."""
    family, transformer = run.family, run.pipeline.transformer
    _, calls = run.generate(prompt=PROMPT)
    assert len(calls) == run.tiny.calls
    text = run.backbone.text.prompt([PROMPT])
    levels = [float(run.level(call, step)) for step, call in enumerate(per_step(calls))]
    assert 0.0 <= levels[1] < levels[0] <= 1.0
    assert levels[0] == 1.0 or not run.tiny.sigmas
    assert levels[1] > 0.0 or run.family.noise_at == "scheduler"
    guidance = run.settings.get(family.guidance_argument, 0.0)
    for step, call in enumerate(per_step(calls)):
        ours = family.inputs(transformer, run.latents(call), text, run.level(call, step), guidance)
        for name, value in ours.items():
            if step == 1 or name not in run.tiny.last_step_only:
                assert_same_argument(value, call.get(name), name, dtype=run.tiny.sigmas)
        assert {name for name, value in call.items() if is_tensors(value)} == {
            name for name, value in ours.items() if is_tensors(value)
        }
        assert family.grid(transformer, call) == run.small.grid
        concept_inputs = set(family.concept_inputs(transformer, call)) - {"attention_kwargs", "joint_attention_kwargs"}
        assert concept_inputs == CONCEPT_INPUTS.get(family.name, concept_inputs)
        assert concept_inputs <= set(ours) | set(family.per_call)


def is_tensors(value):
    return isinstance(value, torch.Tensor) or (
        isinstance(value, list | tuple) and len(value) > 0 and isinstance(value[0], torch.Tensor)
    )


def assert_same_argument(ours, theirs, name, *, dtype):
    """With `dtype`, also compare types. Rows of a negative prompt in the pipeline's call are ignored."""
    if not is_tensors(ours):
        assert ours == theirs, name
        return
    if isinstance(ours, list | tuple) or isinstance(theirs, list):
        pairs = list(zip(ours, theirs, strict=True))
    else:
        theirs = theirs[0] if name.endswith("ids") and theirs.ndim == ours.ndim + 1 else theirs
        pairs = [(ours, theirs[-1:] if len(ours) != len(theirs) else theirs)]
    for our_part, stock in pairs:
        torch.testing.assert_close(
            our_part, stock, atol=1e-5, rtol=1e-5, check_dtype=dtype, msg=lambda text: f"{name}: {text}"
        )


@torch.no_grad()
def test_prompt_arguments_generate_what_the_prompt_does(run):
    text = run.backbone.text.prompt([PROMPT])
    if not run.family.takes_encoded_prompts:
        with pytest.raises(UserError, match="GenerationTrace"):
            run.family.prompt_arguments(text)
        return
    arguments = run.family.prompt_arguments(text)
    unguided = run.unguided() | ({"negative_prompt": None} if "negative_prompt" in run.settings else {})
    expected, _ = run.generate(prompt=PROMPT, **unguided)
    ours, _ = run.generate(**{"prompt": None} | unguided | arguments)
    assert torch.equal(ours, expected)


def test_a_trace_keeps_the_generated_image_bit_identical_and_excludes_the_negative_prompt(run):
    plain, calls = run.generate(prompt=PROMPT)
    with GenerationTrace(run.backbone, WORDS, layers=[0, 2]) as trace:
        traced, _ = run.generate(prompt=PROMPT)
    assert torch.equal(plain, traced)
    assert len(calls) == run.tiny.calls
    assert trace.steps == 2
    frames = (2,) if run.family.video else ()
    assert trace.maps().shape == (1, 3, *frames, 3, 5)
    torch.testing.assert_close(trace.maps().sum(dim=1), torch.ones(1, *frames, 3, 5))


@torch.no_grad()
def test_traced_maps_are_those_of_the_prompts_rows_recorded_again(run):
    """The mean over the stock steps, each step's call repeated without the negative prompt's rows."""
    backbone, family, transformer, total = run.backbone, run.family, run.pipeline.transformer, 0
    with GenerationTrace(backbone, WORDS, layers=[0, 2]) as trace:
        run.generate(prompt=PROMPT)
    _, calls = run.generate(prompt=PROMPT)
    for call in per_step(calls):
        rows = {k: v[-1:] if isinstance(v, torch.Tensor) and k[-3:] != "ids" else v for k, v in call.items()}
        grid = family.grid(transformer, rows)
        streams, _ = record_streams(
            transformer,
            family.attentions(transformer),
            rows,
            image_tokens=grid.tokens,
            text_first=family.text_first,
            last_layer=2,
        )
        inputs = family.concept_inputs(transformer, rows)
        recording = Recording(
            grid=grid,
            noised_copies=1,
            layers=(0, 2),
            streams=tuple(streams),
            call=inputs,
            prediction=None,
            concept_pass=backbone.ask,
        )
        total = total + recording.ask(WORDS).maps()
    torch.testing.assert_close(trace.maps(), total / 2, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_tokens_of_the_words_are_located_and_pooled(run):
    family, text, length = run.family, run.backbone.text, run.backbone.text.length
    [encoded] = family.encode_text(run.pipeline, ["red traffic light"], length)
    assert encoded.is_word.shape == encoded.hidden.shape[:1]
    indices = encoded.is_word.nonzero().flatten().tolist()
    assert indices == [run.tiny.first_word + i for i in range(3)]
    for pooling, expected in (
        ("first", encoded.hidden[indices[0]]),
        ("last", encoded.hidden[indices[2]]),
        ("mean", encoded.hidden[indices].mean(dim=0)),
    ):
        torch.testing.assert_close(text.concepts(["red traffic light"], pooling).hidden[0, 0], expected)
    [changed] = family.encode_text(run.pipeline, ["red traffic grass"], length)
    assert not torch.allclose(encoded.hidden[indices[2]], changed.hidden[indices[2]])
    [empty] = family.encode_text(run.pipeline, [""], length)
    assert int(empty.is_word.sum()) == 1


def test_a_text_that_is_too_long_is_named(run):
    family, length, words = run.family, run.tiny.length, run.tiny.length - run.tiny.around
    [longest] = family.encode_text(run.pipeline, ["red " * (words - 1) + "cat"], length)
    assert int(longest.is_word.sum()) == words
    with pytest.raises(UserError) as error:
        family.encode_text(run.pipeline, ["cat", "red " * words + "cat"], length)
    assert "'red red" in error.value.what
    assert f"{length + 1} tokens" in error.value.what
    assert str(length) in error.value.allowed


@torch.no_grad()
def test_clean_latents_decode_as_the_pipeline_decodes(run):
    """The pipeline's decoding of our clean latents starts from the code of the autoencoder."""
    pipeline, vae, video = run.pipeline, run.pipeline.vae, run.family.video
    height, width = run.tiny.size.values()
    images = torch.rand(1, 3, run.tiny.frames, height, width) if video else torch.rand(1, 3, height, width)
    latents = run.backbone.encode(images)
    assert latents.shape[1:] == run.small.latents
    five_axes = video or run.family.name in ("qwen-image", "krea2")
    code = vae.encode((2 * images - 1)[:, :, None] if five_axes and not video else 2 * images - 1).latent_dist.mode()
    if run.family.name == "cogvideox":
        ours = pipeline.decode_latents(latents.transpose(1, 2))
        torch.testing.assert_close(ours, vae.decode(code).sample, atol=1e-4, rtol=1e-4)
        return
    torch.testing.assert_close(unscaled(run, latents), code, atol=1e-5, rtol=1e-5)
    if run.tiny.latents != "plain":  # the pipeline's callback takes packed latents: the code is all that is compared
        return
    decoded, _ = run.generate(prompt=PROMPT, callback_on_step_end=lambda *_: {"latents": latents})
    decoded = decoded.transpose(1, 2) if video else decoded
    expected = (vae.decode(code).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(decoded, expected, atol=1e-5, rtol=1e-5)


def unscaled(run, latents):
    """Invert the scaling of clean latents, with the figures of the autoencoder's config."""
    vae = run.pipeline.vae
    if run.family.name in ("qwen-image", "krea2"):
        mean, std = (torch.tensor(x).view(1, -1, 1, 1, 1) for x in (vae.config.latents_mean, vae.config.latents_std))
        return latents[:, :, None] * std + mean
    if run.family.name.startswith(("flux2", "ernie")):
        offset = 1e-5 if run.family.name == "ernie-image" else vae.config.batch_norm_eps  # as each pipeline decodes
        std = (vae.bn.running_var.view(1, -1, 1, 1) + offset).sqrt()
        return run.pipeline._unpatchify_latents(latents * std + vae.bn.running_mean.view(1, -1, 1, 1))
    if run.family.name == "mochi":
        mean, std = (torch.tensor(x).view(1, -1, 1, 1, 1) for x in (vae.config.latents_mean, vae.config.latents_std))
        return latents * std / vae.config.scaling_factor + mean
    return latents / vae.config.scaling_factor + (getattr(vae.config, "shift_factor", None) or 0.0)


@torch.no_grad()
def test_images_are_recorded_and_asked(run):
    side = run.tiny.pixels // 8
    images = torch.rand(2, 3, 5 * side, 25 * side // 3)
    recording = run.backbone.record(images, timesteps=[0.2, 0.8], noise_samples=2, layers=[0, 2])
    maps = recording.ask(WORDS).maps()
    assert maps.shape == (2, 3, 3, 5)
    torch.testing.assert_close(maps.sum(dim=1), torch.ones(2, 3, 5))
    torch.testing.assert_close(recording.select(1).ask(WORDS).maps()[0], maps[1], atol=1e-5, rtol=1e-5)
    assert torch.equal(recording.ask(list(WORDS.classes)).maps(), maps)
    each = {1: WORDS, 0: Vocabulary.from_names(["grass", "cat"])}
    for image, features in recording.ask_images(each).items():
        alone = recording.select(image).ask(each[image])
        torch.testing.assert_close(features.maps(), alone.maps(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("guidance", [0.0, 4.0])
def test_generating_gives_what_the_stock_pipeline_gives_and_maps_of_its_size(run, guidance):
    if not run.family.takes_encoded_prompts:
        with pytest.raises(UserError, match="GenerationTrace"):
            generate(run.backbone, PROMPT, WORDS, steps=1)
        return
    if guidance not in run.tiny.guidances:
        pytest.skip("with guidance this pipeline is compared in the family's own file")
    backbone, frames, size = run.backbone, run.tiny.frames if run.family.video else None, run.tiny.size
    result = generate(backbone, PROMPT, WORDS, frames=frames, steps=2, guidance=guidance, seed=5, layers=[0, 2], **size)
    stock = run.pipeline(
        **run.family.prompt_arguments(backbone.text.prompt([PROMPT])),
        **size,
        **({"num_frames": frames} if frames else {}),
        **run.family.guided(run.pipeline, guidance),
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(5),
    )
    images = stock.frames[0] if frames else stock.images
    if not hasattr(images[0], "tobytes") or not hasattr(images[0], "mode"):
        images = [(255 * torch.as_tensor(image)).round().byte().numpy() for image in images]
    assert [i.tobytes() for i in result.images] == [i.tobytes() for i in images]
    shape = (size["height"], size["width"])
    assert result.maps.shape == ((1, 3, len(images), *shape) if frames else (1, 3, *shape))


@torch.no_grad()
def test_a_clip_gives_maps_of_its_frames():
    run = Run("cogvideox")
    backbone = run.backbone
    clip = torch.rand(1, 3, 6, 48, 80)  # extended to 9 frames: 3 latent frames
    backbone.card = replace(backbone.card, layers=(0, 2))
    maps = backbone.maps(clip, WORDS)
    assert maps.shape == (1, 3, 6, 48, 80)
    assert torch.equal(maps[:, :, 1], maps[:, :, 4])  # frames 1 to 4 share a latent frame
    assert not torch.equal(maps[:, :, 0], maps[:, :, 1])
    assert backbone.record(clip, layers=[0]).grid.frames == 3


def test_a_clip_raises_for_a_family_of_images():
    pipeline, name, _ = tiny_flux()
    with pytest.raises(UserError, match="flux1-schnell"):
        backbone_of(pipeline, name).encode(torch.rand(1, 3, 5, 48, 80))


def test_a_pipeline_of_another_family_raises():
    pipeline, _, _ = tiny_flux()
    with pytest.raises(UserError, match=r"SD3Transformer2DModel.*FluxTransformer2DModel"):
        backbone_of(pipeline, "sd3.5-large")
