"""Tiny random autoencoders and text encoders of the real classes."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderKLFlux2, AutoencoderKLQwenImage
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen3Config

NARROW: dict[str, Any] = {
    "block_out_channels": (8, 8, 8, 8),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "layers_per_block": 1,
}


def tiny_autoencoder(
    *, scaling_factor: float = 0.36, shift_factor: float | None = 0.12, quant_conv: bool = True, channels: int = 4
) -> AutoencoderKL:
    """8 pixels to a latent."""
    torch.manual_seed(2)
    return AutoencoderKL(
        **NARROW | {"latent_channels": channels},
        scaling_factor=scaling_factor,
        shift_factor=shift_factor,
        use_quant_conv=quant_conv,
        use_post_quant_conv=quant_conv,
    ).eval()


def tiny_flux2_autoencoder() -> AutoencoderKLFlux2:
    """With running means and variances that are not 0 and 1."""
    torch.manual_seed(2)
    autoencoder = AutoencoderKLFlux2(**NARROW).eval()
    autoencoder.bn.running_mean.normal_()
    autoencoder.bn.running_var.uniform_(0.5, 2.0)
    return autoencoder


def tiny_qwen_autoencoder() -> AutoencoderKLQwenImage:
    """With latents whose mean and deviation are not 0 and 1."""
    return AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=[0.1] * 4, latents_std=[1.7] * 4
    ).eval()


def tiny_qwen3(words: PreTrainedTokenizerFast) -> Qwen3Config:
    """Three layers, 24 wide."""
    return Qwen3Config(
        vocab_size=len(words),
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=12,
    )


def tiny_qwen_vl(words: PreTrainedTokenizerFast, *, layers: int, **marks: int) -> Qwen2_5_VLForConditionalGeneration:
    """24 wide; `marks` are the tokens around a picture."""
    torch.manual_seed(0)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(words),
            "hidden_size": 24,
            "intermediate_size": 32,
            "num_hidden_layers": layers,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]},
        },
        vision_config={"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 24},
        **marks,
    )
    return Qwen2_5_VLForConditionalGeneration(config).eval()
