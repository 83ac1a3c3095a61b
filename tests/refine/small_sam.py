"""SAM, SAM 2 and the tracker of SAM 3: the classes of transformers with stock configurations made small, random."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    Sam2Config,
    Sam2Model,
    Sam2Processor,
    Sam3TrackerConfig,
    Sam3TrackerModel,
    Sam3TrackerProcessor,
    SamConfig,
    SamModel,
    SamProcessor,
)
from transformers.models.sam.image_processing_sam import SamImageProcessor
from transformers.models.sam2.image_processing_sam2 import Sam2ImageProcessor

SIDE = 64  # pixels of the encoder's image, in place of 1024
WIDTH = 32
DECODER = {"hidden_size": WIDTH, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}


def small_sam() -> tuple[Any, Any]:
    vision = {
        "hidden_size": 16,
        "output_channels": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 8,
        "window_size": 4,
        "global_attn_indexes": [1],
        "num_pos_feats": WIDTH // 2,
        "mlp_dim": 32,
        "initializer_range": 0.02,
    }
    prompt = {"hidden_size": WIDTH, "image_size": SIDE, "patch_size": 8, "mask_input_channels": 4}
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=DECODER)
    image_processor = SamImageProcessor(
        size={"longest_edge": SIDE},
        pad_size={"height": SIDE, "width": SIDE},
        mask_size={"longest_edge": SIDE // 4},
        mask_pad_size={"height": SIDE // 4, "width": SIDE // 4},
    )
    return _random(SamModel, config), SamProcessor(image_processor)


def small_sam2() -> tuple[Any, Any]:
    stages = {
        "hidden_size": 8,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [4, 4],
    }
    vision = {
        "backbone_config": {"model_type": "sam2_hiera_det_model", **stages},
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2],
        "fpn_hidden_size": WIDTH,
    }
    prompt = {"hidden_size": WIDTH, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 4}
    config = Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=DECODER)
    return _random(Sam2Model, config), Sam2Processor(_image_processor())


def small_sam3() -> tuple[Any, Any]:
    vision_transformer = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "pretrain_image_size": SIDE,
        "patch_size": 16,
        "window_size": 2,
        "global_attn_indexes": [1],
    }
    vision = {
        "backbone_config": {"model_type": "sam3_vit_model", **vision_transformer},
        "backbone_feature_sizes": [[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2],
        "fpn_hidden_size": WIDTH,
    }
    vision["model_type"] = "sam3_vision_model"
    prompt = {"hidden_size": WIDTH, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 4}
    config = Sam3TrackerConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=DECODER)
    return _random(Sam3TrackerModel, config), Sam3TrackerProcessor(_image_processor())


SMALL = {"sam": small_sam, "sam2": small_sam2, "sam3": small_sam3}


def _image_processor() -> Any:
    side = {"height": SIDE, "width": SIDE}
    return Sam2ImageProcessor(size=side, mask_size={"height": SIDE // 4, "width": SIDE // 4})


def _random(kind: Any, config: Any) -> Any:
    torch.manual_seed(0)
    model = kind(config).eval()
    for weight in model.parameters():  # wider than at the start of training, so that masks differ from place to place
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.3)
    return model
