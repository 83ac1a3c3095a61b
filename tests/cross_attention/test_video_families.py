"""Image-to-video pipelines, whose picture is left out of the maps, and the further guidance of LTX-2."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from ca_seg.cross_attention.reader import CrossAttentionReader
from ca_seg.cross_attention.trace import CrossAttentionTrace
from ca_seg.errors import UserError
from tests.cross_attention.naive import attention_inputs, naive_attention
from tests.cross_attention.tiny_videos import ltx_2, wan_image_to_video
from tests.stock_run import recorded_calls

PROMPT = "a photo of a cat on grass"
PICTURE = Image.new("RGB", (80, 48), "olive")


@torch.no_grad()
@pytest.mark.parametrize("picture_tokens", [True, False])
def test_image_to_video_is_read_while_it_generates_without_the_keys_of_the_picture(picture_tokens):
    pipeline = wan_image_to_video(picture_tokens=picture_tokens)
    pipeline.set_progress_bar_config(disable=True)
    reader = CrossAttentionReader(pipeline)

    def run(steps=1):
        return pipeline(
            image=PICTURE,
            prompt=PROMPT,
            height=48,
            width=80,
            num_frames=5,
            guidance_scale=4.0,
            num_inference_steps=steps,
            output_type="latent",
            generator=torch.Generator().manual_seed(5),
        )[0]

    plain = run()
    with CrossAttentionTrace(reader, PROMPT, ["cat", "grass"]) as trace:
        traced = run()
    assert torch.equal(plain, traced)
    modules = reader.family.layers(pipeline.transformer)
    with recorded_calls(pipeline.transformer) as calls:
        run()
    assert len(calls) == 2  # the prompt, then the negative one
    with attention_inputs(modules) as seen:
        pipeline.transformer(**calls[0])
    expected = []
    for name, module in modules.items():
        call = seen[name] | {"encoder_hidden_states": seen[name]["encoder_hidden_states"][:, -512:]}
        probabilities, _ = naive_attention(module, call)
        expected.append(probabilities.mT)  # [1, heads, T, N]
    tokens = reader.family.tokens(pipeline, PROMPT)
    words = [tokens.of_phrase(word)[0] for word in ("cat", "grass")]
    mean = torch.cat(expected, dim=1).mean(dim=1)[:, words].unflatten(2, (2, 3, 5))
    torch.testing.assert_close(trace.maps(), mean, atol=1e-5, rtol=1e-4)
    with pytest.raises(UserError, match="image-to-video"):
        reader.record(PICTURE, PROMPT)


@torch.no_grad()
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_further_guidance_of_ltx_2_is_no_step(scale):
    """Weakened passes are left out of the maps: those without a self-attention, and those without the sound."""
    pipeline = ltx_2()
    pipeline.set_progress_bar_config(disable=True)
    reader = CrossAttentionReader(pipeline)

    with (
        CrossAttentionTrace(reader, PROMPT, ["cat", "grass"]) as trace,
        recorded_calls(pipeline.transformer) as calls,
    ):
        pipeline(
            prompt=PROMPT,
            height=96,
            width=160,
            num_frames=9,
            num_inference_steps=2,
            output_type="latent",
            guidance_scale=scale,
            audio_guidance_scale=scale,
            spatio_temporal_guidance_blocks=[1],  # its scale, and that of the other guidance, is on by default
            generator=torch.Generator().manual_seed(5),
        )
    assert (trace.steps, len(calls)) == (2, 6)
    tokens = reader.family.tokens(pipeline, PROMPT)
    words = [tokens.of_phrase(word)[0] for word in ("cat", "grass")]
    expected = 0
    for call in calls[::3]:  # of each step the pass with everything
        layers, _ = reader._run(pipeline.transformer, call, False)
        heads = torch.cat([layer.rows(slice(-1, None)).maps(words) for layer in layers], dim=1)
        expected = expected + heads.mean(dim=1) / 2
    torch.testing.assert_close(trace.maps(), expected)
