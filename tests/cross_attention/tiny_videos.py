"""Tiny random stock pipelines of Wan and LTX."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    Gemma2Config,
    Gemma2Model,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from tests.tiny_text import tiny_tokenizer

T5 = {"vocab_size": 40, "d_model": 24, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}


def tiny_t5(length: int, kind: Any = T5EncoderModel, config: Any = T5Config) -> tuple[Any, Any]:
    """A T5 and its tokenizer, which pads to `length`."""
    torch.manual_seed(0)
    return kind(config(**T5)).eval(), tiny_tokenizer(length=length)


def tiny_gemma(**changes: Any) -> Any:
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=40,
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=12,
        **changes,
    )
    return Gemma2Model(config).eval()


def _wan_transformer(seed: int, **changes: Any) -> Any:
    torch.manual_seed(seed)
    return diffusers.WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        **{"in_channels": 4} | changes,
        out_channels=4,
        text_dim=24,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
    ).eval()


def wan(*, two: bool = False, expand_timesteps: bool = False) -> Any:
    t5, words = tiny_t5(512, UMT5EncoderModel, UMT5Config)
    torch.manual_seed(2)
    vae = diffusers.AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.1] * 4,
        latents_std=[1.7] * 4,
    ).eval()
    return diffusers.WanPipeline(
        words,
        t5,
        vae,
        diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
        _wan_transformer(3),
        _wan_transformer(4) if two else None,
        boundary_ratio=0.875 if two else None,
        expand_timesteps=expand_timesteps,
    )


def wan_image_to_video(*, picture_tokens: bool) -> Any:
    """Wan 2.1's attends to CLIP tokens of the picture (`picture_tokens`), that of Wan 2.2 does not."""
    text_to_video = wan()
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8
    )
    torch.manual_seed(5)
    pictures = {"image_dim": 16, "added_kv_proj_dim": 24} if picture_tokens else {}
    channels = 4 + 4 + 4  # noised, clean, and which frames are given
    return diffusers.WanImageToVideoPipeline(
        text_to_video.tokenizer,
        text_to_video.text_encoder,
        text_to_video.vae,
        text_to_video.scheduler,
        CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
        CLIPVisionModel(config).eval(),
        _wan_transformer(3, in_channels=channels, **pictures),
    )


def _ltx_transformer(kind: Any, **more: Any) -> Any:
    torch.manual_seed(3)
    return kind(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        num_layers=2,
        caption_channels=24,
        **more,
    ).eval()


def _ltx_vae(kind: Any, **more: Any) -> Any:
    torch.manual_seed(2)
    shape = {"latent_channels": 4, "block_out_channels": (8,) * 4, "layers_per_block": (1,) * 5, "scaling_factor": 0.9}
    vae = kind(**shape, **more).eval()
    vae.latents_mean.fill_(0.2)
    vae.latents_std.fill_(1.3)
    return vae


def ltx_video() -> Any:
    t5, words = tiny_t5(128)
    transformer = _ltx_transformer(diffusers.LTXVideoTransformer3DModel)
    decoder = {"decoder_block_out_channels": (8,) * 4, "decoder_layers_per_block": (1,) * 5}
    vae = _ltx_vae(diffusers.AutoencoderKLLTXVideo, **decoder)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.1)
    return diffusers.LTXPipeline(scheduler, vae, t5, words, transformer)


def ltx_2() -> Any:
    words = tiny_tokenizer(length=1024, start="<s>", end=None)
    text = tiny_gemma(pad_token_id=words.pad_token_id)
    connectors = {"num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 1}
    sides = {f"{side}_connector_{name}": value for side in ("video", "audio") for name, value in connectors.items()}
    connector = LTX2TextConnectors(caption_channels=24, text_proj_in_factor=3, **sides).eval()
    transformer = _ltx_transformer(
        diffusers.LTX2VideoTransformer3DModel,
        audio_in_channels=32,
        audio_out_channels=32,
        audio_num_attention_heads=2,
        audio_attention_head_dim=4,
        audio_cross_attention_dim=8,
    )
    for name, parameter in transformer.named_parameters():
        if name.endswith("table"):  # empty memory in a model that is not loaded
            torch.nn.init.normal_(parameter, std=0.1)
    vae = _ltx_vae(
        diffusers.AutoencoderKLLTX2Video,
        decoder_block_out_channels=(8,) * 3,
        decoder_layers_per_block=(1,) * 4,
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )
    sound = diffusers.AutoencoderKLLTX2Audio(base_channels=32, ch_mult=(1,), num_res_blocks=1, mel_bins=16).eval()
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.1)
    return diffusers.LTX2Pipeline(scheduler, vae, sound, text, words, connector, transformer, None)
