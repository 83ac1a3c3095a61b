"""The contract of every family of cross-attention models: tiny models of the real classes in real stock pipelines."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from ca_seg.cross_attention.families.registry import CROSS_FAMILIES
from ca_seg.cross_attention.reader import CrossAttentionReader
from ca_seg.cross_attention.trace import CrossAttentionTrace
from ca_seg.errors import UserError
from tests.cross_attention.naive import attention_inputs, naive_attention
from tests.cross_attention.tiny import TINY, VARIANTS, generate
from tests.stock_run import recorded_calls

PROMPT = "a photo of a red traffic light on grass"
PIPELINES = TINY | VARIANTS


@cache
def opened(name):
    return PIPELINES[name].make()


class Case:
    """One family's tiny pipeline with a reader around it."""

    def __init__(self, name):
        self.name, self.tiny, self.pipeline = name, PIPELINES[name], opened(name)
        self.reader = CrossAttentionReader(self.pipeline, resolution=self.tiny.size[0])
        self.family = self.reader.family
        self.denoiser = self.family.denoisers(self.pipeline)[0]
        self.low_noise = self.family.denoiser(self.pipeline, 0.3)
        self.images = torch.rand(2, 3, *self.tiny.size, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=PIPELINES)
def case(request):
    return Case(request.param)


def test_each_family_has_a_tiny_pipeline():
    assert set(TINY) == set(CROSS_FAMILIES)


@torch.no_grad()
def test_the_stock_prediction_stays_and_every_layer_is_the_naive_one(case):
    modules = case.family.layers(case.low_noise)
    with recorded_calls(case.low_noise) as calls, attention_inputs(modules) as seen:
        recording = case.reader.record(case.images, PROMPT, timesteps=0.3, seed=[3, 4], outputs=True)
    [call] = calls
    assert torch.equal(case.low_noise(**call)[0], recording.prediction)
    assert [layer.name for layer in recording.layers] == list(modules)
    for layer in recording.layers:
        expected, output = naive_attention(modules[layer.name], seen[layer.name])
        torch.testing.assert_close(layer.probabilities(), expected.mT, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(output, seen[layer.name]["output"], atol=1e-4, rtol=1e-4)
        assert layer.output is not None
        assert layer.output.shape == layer.query.shape
    grids = {(g.height, g.width) for g in (layer.grid for layer in recording.layers)}
    assert grids == {grid[-2:] for grid in case.tiny.grids}


@torch.no_grad()
def test_arguments_equal_those_of_the_stock_pipeline(case):
    """For the latents and the timestep of each stock step, our call equals the pipeline's, argument by argument."""
    _, calls = generate(case.tiny, case.pipeline, PROMPT, guidance=1.0)
    prepared = case.reader._call(PROMPT, *case.tiny.size)
    for call in calls:
        latents = unpacked(case, call)
        times = call["timestep"].reshape(-1)[:1]
        ours = case.family.with_image(case.denoiser, prepared, latents, times)
        assert ours.keys() == call.keys()
        if case.name == "ltx-2":  # a picture has no sound: zeros of the same length, which the video does not see
            sound = call.pop("audio_hidden_states")
            assert torch.equal(ours.pop("audio_hidden_states"), torch.zeros_like(sound))
            assert (ours.pop("isolate_modalities"), call.pop("isolate_modalities")) == (True, False)
        for name, value in call.items():
            assert_same(ours[name], value, name)
        assert case.family.latent_size(ours) == case.family.latent_size(call)


def unpacked(case, call):
    """The latents of a call, [B, c, (f,) h, w]."""
    latents = call[case.family.latents_argument]
    if case.name.startswith("ltx"):
        return latents.mT.unflatten(2, (call["num_frames"], call["height"], call["width"]))
    return latents[..., :4].moveaxis(-1, 1) if case.name.startswith("kandinsky5") else latents


def assert_same(ours, stock, name):
    if isinstance(stock, dict):
        assert ours.keys() == stock.keys(), name
        for key in stock:
            assert_same(ours[key], stock[key], f"{name}.{key}")
    elif isinstance(stock, list | tuple) and isinstance(stock[0], torch.Tensor):
        for our_part, part in zip(ours, stock, strict=True):
            assert torch.equal(our_part, part), name
    elif isinstance(stock, torch.Tensor):
        shaped = ours.reshape(stock.shape) if name == "timestep" else ours
        assert torch.equal(shaped, stock), name
        assert shaped.dtype == stock.dtype, name
    else:
        assert ours == stock, name


@torch.no_grad()
def test_noise_levels_are_those_of_the_stock_scheduler(case):
    """Noised latents and the timestep, as the scheduler makes them at its own steps."""
    scheduler, family = case.pipeline.scheduler, case.family
    scheduler.set_timesteps(4, **({"mu": 0.7} if case.name.startswith("ltx") else {}))
    clean, noise = torch.randn(2, 1, 4, 6, 10, generator=torch.Generator().manual_seed(1))
    for step, timestep in enumerate(scheduler.timesteps[:4]):
        if hasattr(scheduler, "alphas_cumprod") and case.name != "sana" and not case.name.startswith("wan"):
            level = (float(timestep) + 0.5) / 1000
            expected = scheduler.add_noise(clean, noise, timestep[None])
            if hasattr(scheduler, "is_scale_input_called"):  # Euler, which scales before the denoiser
                sigma = scheduler.sigmas[step]
                expected = (clean + sigma * noise) / (sigma**2 + 1) ** 0.5
            argument = timestep
        else:
            level = float(scheduler.sigmas[step])
            expected = (1 - level) * clean + level * noise
            argument = 1000 * level * getattr(case.denoiser.config, "timestep_scale", 1.0)
        torch.testing.assert_close(family.noised(case.pipeline, clean, noise, level), expected, atol=1e-4, rtol=1e-4)
        assert family.timestep_input(case.pipeline, level) == pytest.approx(float(argument), rel=1e-3)


@torch.no_grad()
def test_the_tokens_of_words_are_those_that_the_text_encoder_reads(case):
    with recorded_calls(case.pipeline.text_encoder) as calls:
        call = case.reader._call(PROMPT, *case.tiny.size)
    ids, tokens = calls[0]["input_ids"][0], case.family.tokens(case.pipeline, PROMPT)
    text_tokens = call["encoder_hidden_states"].shape[1]
    assert len(tokens.spans) == text_tokens
    cut = len(ids) - text_tokens  # of an instruction or a template before the prompt
    if case.name == "ltx-2":  # padded on the left; the connectors move the words to the front
        cut = int((ids == case.pipeline.tokenizer.pad_token_id).sum())
    names = case.pipeline.tokenizer.convert_ids_to_tokens(ids.tolist())
    for phrase in ("traffic light", "red", "grass"):
        assert [names[index + cut] for index in tokens.of_phrase(phrase)] == phrase.split()
    mask = call.get("encoder_attention_mask")
    if case.name == "ltx-2":  # registers stand in place of padding, and are attended to
        assert bool(mask.all())
    elif mask is not None:
        assert tokens.unpadded == tuple(mask[0].nonzero().flatten().tolist())


@torch.no_grad()
def test_asking_the_prompt_again_gives_what_was_recorded(case):
    """The keys of a text depend neither on the picture nor on its size."""
    recording = case.reader.record(case.images, PROMPT, timesteps=[0.2, 0.6], noise_samples=2, seed=[3, 4])
    words = ["traffic light", "grass"]
    maps = recording.maps(words)
    assert maps.shape == (2, 2, *max(case.tiny.grids)[-2:])
    torch.testing.assert_close(recording.ask(PROMPT, softmax_padding=True).maps(words), maps, atol=1e-5, rtol=1e-4)
    one = recording.select(1)
    torch.testing.assert_close(one.maps(words)[0], maps[1])
    torch.testing.assert_close(one.ask(PROMPT, softmax_padding=True).maps(words)[0], maps[1], atol=1e-5, rtol=1e-4)
    alone = case.reader.record(case.images[1:], PROMPT, timesteps=[0.2, 0.6], noise_samples=2, seed=4)
    torch.testing.assert_close(alone.maps(words)[0], maps[1], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_trace_keeps_the_generation_and_reads_the_prompts_rows(case):
    plain, calls = generate(case.tiny, case.pipeline, PROMPT)
    with CrossAttentionTrace(case.reader, PROMPT, ["red", "grass"]) as trace:
        traced, _ = generate(case.tiny, case.pipeline, PROMPT)
    assert torch.equal(plain, traced)
    assert trace.steps == 2
    maps, again, _ = trace.maps(), *generate(case.tiny, case.pipeline, PROMPT)
    assert maps.shape == (1, 2, *max(case.tiny.grids))
    assert torch.equal(again, plain)
    if case.name == "wan-2.2-two-transformers":  # the second step runs the other transformer
        assert len(calls) == case.tiny.calls
        return
    assert len(calls) == 2 * case.tiny.calls
    expected = 0
    for call in calls[:: case.tiny.calls]:  # the prompt's call is the first of a step
        layers, _ = case.reader._run(case.denoiser, call, False)
        prompt_tokens = case.family.tokens(case.pipeline, PROMPT)
        tokens = [prompt_tokens.of_phrase(word)[0] for word in ("red", "grass")]
        heads = torch.cat([upscaled(case, layer, tokens) for layer in layers], dim=1)
        expected = expected + heads.mean(dim=1)
    torch.testing.assert_close(maps, expected / 2, atol=1e-3, rtol=1e-3)


def upscaled(case, layer, tokens):
    """The prompt's row of a layer, each head on the largest grid [1, heads, words, ...]; one token for each word."""
    maps, size = layer.rows(slice(-1, None)).maps(tokens), max(case.tiny.grids)
    if maps.shape[3:] == size:
        return maps
    return torch.nn.functional.interpolate(maps[0], size, mode="bicubic", align_corners=False).clamp_min(0)[None]


@torch.no_grad()
def test_another_prompt_than_the_traces_is_noticed(case):
    with CrossAttentionTrace(case.reader, PROMPT, "red") as trace:
        generate(case.tiny, case.pipeline, "a photo of a cat")
    with pytest.raises(UserError, match="another prompt"):
        trace.maps()


def test_a_word_that_is_not_in_the_prompt_is_named(case):
    with pytest.raises(UserError, match="dog"):
        CrossAttentionTrace(case.reader, PROMPT, ["dog"])


def test_a_prompt_that_is_too_long_is_refused(case):
    with pytest.raises(UserError, match="too long"):
        case.reader.record(case.images[:1], "red " * 3000 + "cat")
