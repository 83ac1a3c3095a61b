"""FLUX.2: double-stream blocks, then single-stream blocks, text first; places have four axes.

latents [B, 128, h, w], 2x2 of the autoencoder's 32 channels each, standardised --> tokens [B, h*w, 128]

place of an image token (0, row, column, 0), of text token i (0, 0, 0, i); concepts all stand at (0, 0, 0, 0). Tokens of
reference images would have a first number above 0: such a call is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.families.base import EncodedText, Family, SmallModel, TextTokens
from ca_seg.backbones.text.template_tokens import own_by_difference
from ca_seg.backbones.text.tokens import shortened
from ca_seg.concept.grid import Grid
from ca_seg.errors import UserError


class Flux2(Family):
    """diffusers' `Flux2Transformer2DModel` with the text side of FLUX.2-dev (Mistral)."""

    name = "flux2"
    transformer = "Flux2Transformer2DModel"
    pipeline = "Flux2Pipeline"
    block_lists = ("transformer_blocks", "single_transformer_blocks")
    per_call = ("timestep", "guidance", "joint_attention_kwargs")
    small = SmallModel(
        config={
            "in_channels": 16,
            "num_layers": 2,
            "num_single_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 4,
            "joint_attention_dim": 24,
            "axes_dims_rope": (4, 4, 4, 4),
            "guidance_embeds": True,
        },
        text=24,
        pooled=None,
        latents=(16, 3, 5),
        grid=Grid(3, 5),
    )

    def grid(self, transformer: nn.Module, inputs: dict[str, Any]) -> Grid:
        last = inputs["img_ids"].reshape(-1, 4).amax(dim=0).int().tolist()
        if last[0]:
            raise UserError(
                "reference images were given: their tokens stand behind those of the image that is made",
                allowed="generation from text alone",
                fix="leave the pipeline's `image` out",
            )
        return Grid(last[1] + 1, last[2] + 1)

    def image_inputs(
        self, transformer: nn.Module, latents: torch.Tensor, timesteps: torch.Tensor, guidance: float
    ) -> dict[str, Any]:
        height, width = latents.shape[-2:]
        one = torch.arange(1)
        places = torch.cartesian_prod(one, torch.arange(height), torch.arange(width), one)
        return {
            "hidden_states": latents.flatten(2).transpose(1, 2),
            "img_ids": places.to(latents.device),
            "timestep": timesteps,
            "guidance": torch.full_like(timesteps, guidance) if transformer.config.guidance_embeds else None,
        }

    def text_inputs(self, transformer: nn.Module, text: TextTokens, *, concepts: bool) -> dict[str, Any]:
        places = torch.zeros(text.hidden.shape[1], 4, dtype=torch.long, device=text.hidden.device)
        if not concepts:
            places[:, 3] = torch.arange(len(places))
        return {"encoder_hidden_states": text.hidden, "txt_ids": places}

    def dummy_image_inputs(self, transformer: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
        tokens = inputs["hidden_states"]
        return {
            "hidden_states": torch.zeros_like(tokens[:, :1]),
            "img_ids": torch.zeros(1, 4, dtype=torch.long, device=tokens.device),
        }

    def encode(self, autoencoder: nn.Module, images: torch.Tensor) -> torch.Tensor:
        latents = torch.nn.functional.pixel_unshuffle(autoencoder.encode(images).latent_dist.mode(), 2)
        norm = autoencoder.bn
        mean, variance = (x.view(1, -1, 1, 1).to(latents) for x in (norm.running_mean, norm.running_var))
        return (latents - mean) / (variance + autoencoder.config.batch_norm_eps).sqrt()

    def token_ids(self, pipeline: Any, text: str, length: int) -> torch.Tensor:
        """The ids of a text in the chat template, without padding and without a limit."""
        from diffusers.pipelines.flux2.pipeline_flux2 import format_input  # only here: an older diffusers lacks it

        chat = format_input([text], pipeline.system_message)
        made = pipeline.tokenizer.apply_chat_template(
            chat, add_generation_prompt=False, tokenize=True, return_dict=True, return_tensors="pt"
        )
        return made["input_ids"][0]

    def encode_text(self, pipeline: Any, texts: Sequence[str], length: int) -> list[EncodedText]:
        """Padded in the stock pipeline's way; padding attends, as there."""
        empty, encoded = self.token_ids(pipeline, "", length), []
        left = self.padded_left(pipeline)
        for text in texts:
            ids = self.token_ids(pipeline, text, length)
            if len(ids) > length:
                raise UserError(
                    f"the text {shortened(text)!r} has {len(ids)} tokens", allowed=f"at most {length}", fix="shorten it"
                )
            own = own_by_difference(ids, empty)
            padding = torch.zeros(length - len(ids), dtype=torch.bool)
            hidden, _ = pipeline.encode_prompt(text, max_sequence_length=length)
            encoded.append(EncodedText(hidden[0], torch.cat([padding, own] if left else [own, padding])))
        return encoded

    def padded_left(self, pipeline: Any) -> bool:
        tokenizer = getattr(pipeline.tokenizer, "tokenizer", pipeline.tokenizer)
        return tokenizer.padding_side == "left"

    def prompt_arguments(self, text: TextTokens) -> dict[str, Any]:
        return {"prompt_embeds": text.hidden}


class Flux2Klein(Flux2):
    """The same transformer with the text side of FLUX.2-klein (Qwen3), distilled: no guidance."""

    name = "flux2-klein"
    pipeline = "Flux2KleinPipeline"
    small = SmallModel(
        config=Flux2.small.config | {"guidance_embeds": False},
        text=24,
        pooled=None,
        latents=(16, 3, 5),
        grid=Grid(3, 5),
    )

    def token_ids(self, pipeline: Any, text: str, length: int) -> torch.Tensor:
        chat = pipeline.tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return pipeline.tokenizer(chat, return_tensors="pt")["input_ids"][0]

    def prompt_arguments(self, text: TextTokens) -> dict[str, Any]:
        return {"prompt_embeds": text.hidden, "negative_prompt_embeds": torch.zeros_like(text.hidden)}
