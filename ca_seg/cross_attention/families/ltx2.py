"""LTX-2 (HaCohen et al. 2026): video and sound from one transformer, with two streams that attend to each other.

    Gemma's tokens ──connectors──► [ words | learned registers instead of padding ]      attended to, all of them
    video tokens ──attn1──► attn2 to the words (read here) ──► attention to the sound ──► ...
    sound tokens ──the same with its own weights──► attention to the video ──► ...

A picture has no sound. It is read with the streams isolated (`isolate_modalities`, which the pipeline's own guidance
runs too), beside zeros of the length that the pipeline gives to the sound of one frame: they do not change the video.
"""

from __future__ import annotations

from typing import Any

import torch

from ca_seg.cross_attention.families.ltx import LTXFamily


class LTX2Family(LTXFamily):
    """`LTX2Pipeline`, text to video."""

    name = "ltx-2"
    pipelines = ("LTX2Pipeline",)
    per_row = (
        "encoder_hidden_states",
        "encoder_attention_mask",
        "audio_encoder_hidden_states",
        "audio_encoder_attention_mask",
    )

    def text_length(self, pipeline: Any) -> int:
        return 1024

    def prepared_text(self, pipeline: Any, prompt: str) -> str:
        return prompt.strip()

    def pipeline_arguments(self, prompt: str, height: int, width: int) -> dict[str, Any]:
        """Without the further guidance of video and sound, which is on by default."""
        off = {"audio_guidance_scale": 1.0, "stg_scale": 0.0, "modality_scale": 1.0}
        off |= {"audio_stg_scale": 0.0, "audio_modality_scale": 1.0}
        return super().pipeline_arguments(prompt, height, width) | off

    def guides_only(self, call: dict[str, Any]) -> bool:
        return bool(call.get("isolate_modalities") or call.get("spatio_temporal_guidance_blocks"))

    def with_image(
        self, denoiser: Any, call: dict[str, Any], latents: torch.Tensor, times: torch.Tensor
    ) -> dict[str, Any]:
        changed = super().with_image(denoiser, call, latents, times)
        (frames, height, width), rows, device = self.latent_size(changed), len(latents), latents.device
        sound = call["audio_hidden_states"]
        sounds = _sound_tokens(denoiser.config, frames, call["fps"])
        return changed | {
            "sigma": changed["timestep"],
            "video_coords": denoiser.rope.prepare_video_coords(rows, frames, height, width, device, fps=call["fps"]),
            "audio_coords": denoiser.audio_rope.prepare_audio_coords(rows, sounds, device),
            "audio_hidden_states": sound.new_zeros(rows, sounds, sound.shape[2]),
            "audio_num_frames": sounds,
            "isolate_modalities": True,
        }


def _sound_tokens(config: Any, frames: int, fps: float) -> int:
    """How many latents of sound the pipeline puts beside so many latent frames."""
    seconds = ((frames - 1) * config.vae_scale_factors[0] + 1) / fps
    per_second = config.audio_sampling_rate / config.audio_hop_length / config.audio_scale_factor
    return max(1, round(seconds * per_second))
