"""HunyuanVideo 1.5: letters in quotes, guidance by a guider, and a pipeline without an autoencoder."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.loading.folder_parts import assemble
from ca_seg.errors import UserError
from tests.tiny_chat_pipelines import tiny_hunyuan_video15

FAMILY = find_family("hunyuan-video-1.5")


def test_the_pipeline_is_made_for_its_text_alone():
    pipeline = assemble(FAMILY, {})
    assert pipeline.num_channels_latents == 32
    assert all(parameter.is_meta for parameter in pipeline.vae.parameters())


@pytest.mark.parametrize(("guidance", "scale", "conditions"), [(0.0, 1.0, 1), (1.0, 1.0, 1), (6.0, 6.0, 2)])
def test_guidance_is_a_setting_of_the_guider(guidance, scale, conditions):
    pipeline = SimpleNamespace()
    assert FAMILY.guided(pipeline, guidance) == {}
    assert pipeline.guider.guidance_scale == scale
    assert pipeline.guider.num_conditions == conditions


@torch.no_grad()
def test_letters_in_quotes_are_refused_and_pictures_are_encoded_one_by_one():
    pipeline, _, _ = tiny_hunyuan_video15()
    with pytest.raises(UserError, match="letters in quotes"):
        FAMILY.encode_text(pipeline, ['a "cat"'], 8)
    videos = 2 * torch.rand(2, 3, 1, 48, 80) - 1
    latents = FAMILY.encode(pipeline.vae, videos)
    assert latents.shape == (2, 4, 1, 3, 5)
    for row in range(2):
        torch.testing.assert_close(latents[row], FAMILY.encode(pipeline.vae, videos[row : row + 1])[0])
