"""FLUX.2 (Black Forest Labs, 2025; weights and code, no paper): double-stream, then single-stream blocks, text first.

latents [B, 128, h, w], 2x2 of the autoencoder's 32 channels each, standardised --> tokens [B, h*w, 128]

Positions have four axes: (0, row, column, 0) for an image token, (0, 0, 0, i) for text token i, (0, 0, 0, 0) for every
concept. Tokens of reference images have a first number above 0; such a call is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ca_seg.backbones.families.base import IMAGE_BRANCH, EncodedText, Family, TextTokens
from ca_seg.backbones.text.template_tokens import words_by_difference
from ca_seg.backbones.text.tokens import check_length
from ca_seg.concept.grid import Grid
from ca_seg.errors import UserError


class Flux2(Family):
    """diffusers' `Flux2Transformer2DModel` with the text side of FLUX.2-dev (Mistral)."""

    name = "flux2"
    transformer = "Flux2Transformer2DModel"
    pipeline = "Flux2Pipeline"
    block_lists = ("transformer_blocks", "single_transformer_blocks")
    image_branch = IMAGE_BRANCH
    image_parts = ("double_stream_modulation_img",)
    modulation = ("double_stream_modulation_txt", "single_stream_modulation")
    per_call = ("timestep", "guidance", "joint_attention_kwargs")

    def grid(self, transformer: Any, inputs: dict[str, Any]) -> Grid:
        last = inputs["img_ids"].reshape(-1, 4).amax(dim=0).int().tolist()
        if last[0]:
            raise UserError(
                "reference images were given: their tokens follow those of the generated image",
                allowed="generation from text alone",
                fix="leave the pipeline's `image` out",
            )
        return Grid(last[1] + 1, last[2] + 1)

    def image_inputs(
        self, transformer: Any, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        height, width = latents.shape[-2:]
        zero = torch.arange(1)
        positions = torch.cartesian_prod(zero, torch.arange(height), torch.arange(width), zero)
        return {
            "hidden_states": latents.flatten(2).transpose(1, 2),
            "img_ids": positions.to(latents.device),
            "timestep": timesteps,
            "guidance": self.guidance_input(transformer, timesteps, guidance),
        }

    def text_inputs(self, transformer: Any, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        positions = torch.zeros(text.hidden.shape[1], 4, dtype=torch.long, device=text.hidden.device)
        if not concepts:
            positions[:, 3] = torch.arange(len(positions))
        return {"encoder_hidden_states": text.hidden, "txt_ids": positions}

    def dummy_image_inputs(self, transformer: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        tokens = inputs["hidden_states"]
        return {
            "hidden_states": torch.zeros_like(tokens[:, :1]),
            "img_ids": torch.zeros(1, 4, dtype=torch.long, device=tokens.device),
        }

    def encode(self, autoencoder: Any, images: torch.Tensor) -> torch.Tensor:
        latents = torch.nn.functional.pixel_unshuffle(autoencoder.encode(images).latent_dist.mode(), 2)
        norm = autoencoder.bn
        mean, variance = (x.view(1, -1, 1, 1).to(latents) for x in (norm.running_mean, norm.running_var))
        return (latents - mean) / (variance + autoencoder.config.batch_norm_eps).sqrt()

    def token_ids(self, pipeline: Any, text: str, length: int) -> torch.Tensor:
        """The ids of a text in the chat template, without padding and without a limit."""
        from diffusers.pipelines.flux2.pipeline_flux2 import format_input  # here: an older diffusers does not have it

        chat = format_input([text], pipeline.system_message)
        encoding = pipeline.tokenizer.apply_chat_template(
            chat, add_generation_prompt=False, tokenize=True, return_dict=True, return_tensors="pt"
        )
        return torch.as_tensor(encoding["input_ids"][0])

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """Padded as in the stock pipeline, where padding attends too."""
        empty, encoded = self.token_ids(pipeline, "", length), []
        left = self.pads_left(pipeline)
        for text in texts:
            ids = self.token_ids(pipeline, text, length)
            check_length(text, len(ids), length)
            is_word = words_by_difference(ids, empty)
            padding = torch.zeros(length - len(ids), dtype=torch.bool)
            hidden, _ = pipeline.encode_prompt(text, max_sequence_length=length)
            encoded.append(EncodedText(hidden[0], torch.cat([padding, is_word] if left else [is_word, padding])))
        return encoded

    def pads_left(self, pipeline: Any) -> bool:
        tokenizer = getattr(pipeline.tokenizer, "tokenizer", pipeline.tokenizer)
        return bool(tokenizer.padding_side == "left")

    def prompt_arguments(self, text: TextTokens, negative: TextTokens | None = None) -> dict[str, Any]:
        """Without a negative prompt: the pipeline has none."""
        return {"prompt_embeds": text.hidden}


class Flux2Klein(Flux2):
    """The same transformer with the text side of FLUX.2-klein (Qwen3), distilled: no guidance."""

    name = "flux2-klein"
    pipeline = "Flux2KleinPipeline"

    def token_ids(self, pipeline: Any, text: str, length: int) -> torch.Tensor:
        chat = pipeline.tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return torch.as_tensor(pipeline.tokenizer(chat, return_tensors="pt")["input_ids"][0])

    def prompt_arguments(self, text: TextTokens, negative: TextTokens | None = None) -> dict[str, Any]:
        return Family.prompt_arguments(self, text, negative)  # with a negative prompt
