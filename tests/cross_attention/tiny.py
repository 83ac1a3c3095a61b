"""Tiny random stock pipelines whose denoiser attends to text in `attn2`: one of each family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import diffusers
import torch
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
)

from tests.cross_attention.tiny_videos import ltx_2, ltx_video, tiny_gemma, tiny_t5, wan
from tests.stock_run import recorded_calls
from tests.tiny_parts import tiny_autoencoder, tiny_qwen_vl
from tests.tiny_text import chat_tokenizer, tiny_tokenizer

CLIP_LENGTH = 12


def _clip(kind: Any, width: int, length: int = CLIP_LENGTH) -> tuple[Any, Any]:
    tokenizer = tiny_tokenizer(length=length, start="<s>", end="</s>", extra_words=("cat,", "light,"))
    torch.manual_seed(1)
    config = CLIPTextConfig(
        vocab_size=40,
        hidden_size=width,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=length,
        projection_dim=width,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return kind(config).eval(), tokenizer


def _vae() -> Any:
    vae = tiny_autoencoder(scaling_factor=0.18215, shift_factor=None)
    vae.register_to_config(force_upcast=False)
    return vae


def _unet(width: int, **changes: Any) -> Any:
    torch.manual_seed(3)
    return diffusers.UNet2DConditionModel(
        **{
            "sample_size": 8,
            "block_out_channels": (8, 16),
            "layers_per_block": 1,
            "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            "mid_block_type": "UNetMidBlock2DCrossAttn",
            "cross_attention_dim": width,
            "attention_head_dim": (2, 4),
            "norm_num_groups": 4,
        }
        | changes
    ).eval()


def stable_diffusion(**changes: Any) -> Any:
    clip, words = _clip(CLIPTextModel, 8)
    scheduler = diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    parts = (_vae(), clip, words, _unet(8, **changes), scheduler, None, None)
    return diffusers.StableDiffusionPipeline(*parts, requires_safety_checker=False)


def stable_diffusion_xl() -> Any:
    (clip, words), (large, large_words) = _clip(CLIPTextModel, 8), _clip(CLIPTextModelWithProjection, 12)
    unet = _unet(
        20,
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=12 + 6 * 4,
    )
    scheduler = diffusers.EulerDiscreteScheduler(beta_schedule="scaled_linear", timestep_spacing="leading")
    return diffusers.StableDiffusionXLPipeline(_vae(), clip, large, words, large_words, unet, scheduler)


def pixart_sigma() -> Any:
    t5, words = tiny_t5(300)
    torch.manual_seed(3)
    transformer = diffusers.PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=16,
        sample_size=8,
        patch_size=2,
        caption_channels=24,
        use_additional_conditions=False,
    ).eval()
    scheduler = diffusers.DPMSolverMultistepScheduler()
    return diffusers.PixArtSigmaPipeline(words, t5, _vae(), transformer, scheduler)


def sana() -> Any:
    words = tiny_tokenizer(length=2000, start="<bos>", end=None)
    text = tiny_gemma()
    torch.manual_seed(3)
    transformer = diffusers.SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=24,
        sample_size=4,
        patch_size=1,
    ).eval()
    vae = diffusers.AutoencoderDC(
        in_channels=3,
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_out_channels=(8,) * 6,
        decoder_block_out_channels=(8,) * 6,
        encoder_layers_per_block=(1,) * 6,
        decoder_layers_per_block=(1,) * 6,
        encoder_qkv_multiscales=((),) * 6,
        decoder_qkv_multiscales=((),) * 6,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        scaling_factor=0.41,
    ).eval()
    scheduler = diffusers.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    return diffusers.SanaPipeline(words, text, vae, transformer, scheduler)


def _kandinsky(pipeline: Any, vae: Any, *, visual_cond: bool) -> Any:
    head = pipeline(None, None, None, None, None, None, None)
    words = chat_tokenizer(head.prompt_template.split("{}")[0], head.prompt_template_encode_start_idx)
    clip, clip_words = _clip(CLIPTextModel, 8, length=77)
    torch.manual_seed(3)
    transformer = diffusers.Kandinsky5Transformer3DModel(
        in_visual_dim=4,
        out_visual_dim=4,
        in_text_dim=24,
        in_text_dim2=8,
        time_dim=16,
        model_dim=24,
        ff_dim=32,
        num_text_blocks=1,
        num_visual_blocks=2,
        axes_dims=(4, 4, 4),
        visual_cond=visual_cond,
    ).eval()
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    return pipeline(transformer, vae, tiny_qwen_vl(words, layers=2), words, clip, clip_words, scheduler)


def kandinsky5_image() -> Any:
    pipeline = _kandinsky(diffusers.Kandinsky5T2IPipeline, _vae(), visual_cond=False)
    pipeline.resolutions = [(80, 48)]
    return pipeline


def kandinsky5_video() -> Any:
    torch.manual_seed(2)
    vae = diffusers.AutoencoderKLHunyuanVideo(
        latent_channels=4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=False,
        scaling_factor=0.47,
    ).eval()
    return _kandinsky(diffusers.Kandinsky5T2VPipeline, vae, visual_cond=True)


@dataclass(frozen=True)
class Tiny:
    """How one family's pipeline is made and run."""

    make: Callable[[], Any]
    size: tuple[int, int] = (48, 80)  # of a generation
    grids: tuple[tuple[int, ...], ...] = ((6, 10), (3, 5))  # of the layers at that size, each once
    frames: int | None = None  # of a generated video
    calls: int = 1  # of the denoiser in each step with guidance
    settings: dict[str, Any] = field(default_factory=dict)  # that our calls differ in from the pipeline's defaults


TINY = {
    "stable-diffusion": Tiny(stable_diffusion),
    "stable-diffusion-xl": Tiny(stable_diffusion_xl),
    "pixart-sigma": Tiny(
        pixart_sigma, grids=((3, 5),), settings={"use_resolution_binning": False, "clean_caption": False}
    ),
    "sana": Tiny(sana, (96, 160), ((3, 5),), settings={"use_resolution_binning": False}),
    "wan": Tiny(wan, grids=((2, 3, 5),), frames=5, calls=2),
    "ltx-video": Tiny(ltx_video, (96, 160), ((2, 3, 5),), frames=9),
    "ltx-2": Tiny(
        ltx_2,
        (96, 160),
        ((2, 3, 5),),
        frames=9,
        settings={
            "audio_guidance_scale": 1.0,
            "stg_scale": 0.0,
            "modality_scale": 1.0,
            "audio_stg_scale": 0.0,
            "audio_modality_scale": 1.0,
        },
    ),
    "kandinsky5-image": Tiny(kandinsky5_image, grids=((3, 5),), calls=2),
    "kandinsky5-video": Tiny(kandinsky5_video, grids=((2, 3, 5),), frames=5, calls=2),
}
VARIANTS = {
    "wan-2.2-two-transformers": Tiny(lambda: wan(two=True), grids=((2, 3, 5),), frames=5, calls=2),
    "wan-2.2-ti2v": Tiny(lambda: wan(expand_timesteps=True), grids=((2, 3, 5),), frames=5, calls=2),
}


def generate(tiny: Tiny, pipeline: Any, prompt: str, *, guidance: float = 4.0, steps: int = 2) -> Any:
    """The latents that the stock pipeline generates, and the calls of its (first) denoiser."""
    frames = {} if tiny.frames is None else {"num_frames": tiny.frames}
    pipeline.set_progress_bar_config(disable=True)
    denoiser = pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer
    with recorded_calls(denoiser) as calls:
        output = pipeline(
            prompt=prompt,
            height=tiny.size[0],
            width=tiny.size[1],
            guidance_scale=guidance,
            num_inference_steps=steps,
            output_type="latent",
            generator=torch.Generator().manual_seed(5),
            **frames,
            **tiny.settings,
        )
    return output[0], calls
