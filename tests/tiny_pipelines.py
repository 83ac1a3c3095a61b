"""Stock pipelines from tiny random parts of the real classes, each with the card that it stands for."""

from __future__ import annotations

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLMochi,
    ChromaPipeline,
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogView4Pipeline,
    FlowMatchEulerDiscreteScheduler,
    FluxFillPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    MochiPipeline,
    StableDiffusion3Pipeline,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    GlmConfig,
    GlmModel,
    T5Config,
    T5EncoderModel,
)

from ca_seg.backbones.families.registry import find_family
from tests.small_models import small_model, small_transformer
from tests.tiny_parts import tiny_autoencoder
from tests.tiny_text import tiny_tokenizer

LENGTH = 7


def _t5():
    torch.manual_seed(0)
    config = T5Config(vocab_size=40, d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    return T5EncoderModel(config).eval(), tiny_tokenizer(length=LENGTH)


def _clip(kind, width):
    tokenizer = tiny_tokenizer(length=LENGTH, start="<s>", end="</s>")
    torch.manual_seed(1)
    config = CLIPTextConfig(
        vocab_size=40,
        hidden_size=width,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        projection_dim=width,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return kind(config).eval(), tokenizer


def tiny_flux():
    (t5, t5_words), (clip, clip_words) = _t5(), _clip(CLIPTextModel, 20)
    pipeline = FluxPipeline(
        FlowMatchEulerDiscreteScheduler(),
        tiny_autoencoder(),
        clip,
        clip_words,
        t5,
        t5_words,
        small_transformer(find_family("flux")),
    )
    return pipeline, "flux1-schnell", {"guidance_scale": 3.5}


def tiny_flux_fill():
    """FLUX.1-Fill's transformer also takes the picture (16 channels here) and 64 pixels of mask for 2 x 2."""
    flux, _, _ = tiny_flux()
    config = small_model(find_family("flux")).config | {"in_channels": 16 + 16 + 4 * 64, "out_channels": 16}
    torch.manual_seed(0)
    parts = {name: part for name, part in flux.components.items() if name not in ("image_encoder", "feature_extractor")}
    pipeline = FluxFillPipeline(**parts | {"transformer": FluxTransformer2DModel(**config).eval()})
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, "flux1-fill-dev"


def tiny_sd3():
    t5, t5_words = _t5()
    (clip, clip_words), (large_clip, large_clip_words) = (
        _clip(CLIPTextModelWithProjection, 8),
        _clip(CLIPTextModelWithProjection, 12),
    )
    transformer = small_transformer(find_family("sd3"))
    pipeline = StableDiffusion3Pipeline(
        transformer,
        FlowMatchEulerDiscreteScheduler(),
        tiny_autoencoder(channels=16),
        clip,
        clip_words,
        large_clip,
        large_clip_words,
        t5,
        t5_words,
    )
    return pipeline, "sd3.5-medium", {"guidance_scale": 4.0}


def tiny_cogvideox():
    torch.manual_seed(3)
    vae = AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=2, sample_height=48
    ).eval()
    t5, t5_words = _t5()
    pipeline = CogVideoXPipeline(
        t5_words,
        t5,
        vae,
        small_transformer(find_family("cogvideox")),
        CogVideoXDDIMScheduler(prediction_type="v_prediction"),
    )
    return pipeline, "cogvideox-5b", {"guidance_scale": 4.0, "num_frames": 5}


def tiny_mochi():
    torch.manual_seed(3)
    vae = AutoencoderKLMochi(
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        scaling_factor=0.9,
    ).eval()
    t5, t5_words = _t5()
    scheduler = FlowMatchEulerDiscreteScheduler(invert_sigmas=True)
    pipeline = MochiPipeline(scheduler, vae, t5, t5_words, small_transformer(find_family("mochi")))
    return pipeline, "mochi-1-preview", {"guidance_scale": 4.0, "num_frames": 7}


def tiny_chroma():
    t5, t5_words = _t5()
    pipeline = ChromaPipeline(
        FlowMatchEulerDiscreteScheduler(), tiny_autoencoder(), t5, t5_words, small_transformer(find_family("chroma"))
    )
    return pipeline, "chroma1-hd", {"guidance_scale": 4.0, "negative_prompt": "grass"}


def tiny_cogview4():
    words = tiny_tokenizer(length=LENGTH, start="<sop>", end=None)
    torch.manual_seed(0)
    config = GlmConfig(
        vocab_size=40,
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=12,
        pad_token_id=0,
    )
    vae = tiny_autoencoder()
    vae.register_to_config(shift_factor=0.0)
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_shift=0.25, max_shift=0.75)
    pipeline = CogView4Pipeline(
        words, GlmModel(config).eval(), vae, small_transformer(find_family("cogview4")), scheduler
    )
    return pipeline, "cogview4-6b", {"guidance_scale": 4.0, "negative_prompt": "grass"}


MAKERS = {
    "chroma": tiny_chroma,
    "cogview4": tiny_cogview4,
    "flux": tiny_flux,
    "sd3": tiny_sd3,
    "cogvideox": tiny_cogvideox,
}
