"""A small random CLIP of transformers with a tokenizer of the real kind, and its image encoder written out slowly."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, ViTConfig, ViTModel

from ca_seg.methods.clip.encoders import ClipEncoders
from tests.tiny_text import tiny_tokenizer

PATCH, SIDE, HEADS, LAYERS = 8, 32, 2, 3


def small_tokenizer():
    """Start and end are put around a text, as CLIP's own does."""
    words = ("kitten", "boat", "clean", "origami", "is", "This", "There", "scene")
    return tiny_tokenizer(length=24, start="<s>", end="</s>", extra_words=words)


def small_clip(*, seed: int = 0, layers: int = LAYERS) -> CLIPModel:
    """Images of 32 x 32, patches of 8, 24 tokens; weights large enough that attention differs from the mean."""
    torch.manual_seed(seed)
    tokenizer = small_tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 24,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "image_size": SIDE,
        "patch_size": PATCH,
    }
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).eval()
    return _larger(model)


def small_guide(patch: int = 4) -> ViTModel:
    """A vision transformer for images of 32 x 32."""
    torch.manual_seed(1)
    config = ViTConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=patch,
    )
    return _larger(ViTModel(config, add_pooling_layer=False).eval())


def _larger(model):
    for name, weight in model.named_parameters():
        if name != "logit_scale":
            torch.nn.init.normal_(weight, mean=1.0 if "norm" in name and name.endswith("weight") else 0.0, std=0.3)
    return model


def small_encoders(*, seed: int = 0, layers: int = LAYERS, dtype: torch.dtype = torch.float32) -> ClipEncoders:
    """The same, as the methods hold it."""
    return ClipEncoders(small_clip(seed=seed, layers=layers).to(dtype), small_tokenizer())


class SlowImageEncoder:
    """CLIP's image encoder for one image of the native size, from its weights alone, head by head.

    Args:
        model: gives the weights
        image: [3, 32, 32] in 0..1
    """

    def __init__(self, model: CLIPModel, image: Tensor) -> None:
        self.weights = {name: weight.detach() for name, weight in model.state_dict().items()}
        mean = image.new_tensor([0.48145466, 0.4578275, 0.40821073])
        deviation = image.new_tensor([0.26862954, 0.26130258, 0.27577711])
        image = (image - mean[:, None, None]) / deviation[:, None, None]
        kernel = self["embeddings.patch_embedding.weight"].flatten(1)
        tokens = [self["embeddings.class_embedding"]]
        for top in range(0, SIDE, PATCH):
            for left in range(0, SIDE, PATCH):
                tokens.append(kernel @ image[:, top : top + PATCH, left : left + PATCH].flatten())
        embedded = torch.stack(tokens) + self["embeddings.position_embedding.weight"]
        self.inputs = [self.norm("pre_layrnorm", embedded)]  # of each layer, and the output of the last
        for layer in range(model.config.vision_config.num_hidden_layers):
            hidden = self.inputs[-1]
            self.inputs.append(self.feed_forward(layer, hidden + self.attention(layer, hidden)))

    def __getitem__(self, name: str) -> Tensor:
        return self.weights[f"vision_model.{name}"]

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self[f"{name}.weight"].T + self[f"{name}.bias"]

    def norm(self, name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        scaled = centred / ((centred**2).mean(dim=-1, keepdim=True) + 1e-5).sqrt()
        return scaled * self[f"{name}.weight"] + self[f"{name}.bias"]

    def heads(self, layer: int, hidden: Tensor) -> dict[str, list[Tensor]]:
        """Queries "q", keys "k" and values "v" of each head [1 + N, d]."""
        normed = self.norm(f"encoder.layers.{layer}.layer_norm1", hidden)
        projected = {n: self.linear(f"encoder.layers.{layer}.self_attn.{n}_proj", normed) for n in "qkv"}
        return {name: list(values.chunk(HEADS, dim=-1)) for name, values in projected.items()}

    def output(self, layer: int, by_head: list[Tensor]) -> Tensor:
        return self.linear(f"encoder.layers.{layer}.self_attn.out_proj", torch.cat(by_head, dim=-1))

    def attention(self, layer: int, hidden: Tensor) -> Tensor:
        parts = self.heads(layer, hidden)
        mixed = []
        for q, k, v in zip(parts["q"], parts["k"], parts["v"], strict=True):
            mixed.append(softmax(q @ k.T / q.shape[-1] ** 0.5) @ v)
        return self.output(layer, mixed)

    def feed_forward(self, layer: int, hidden: Tensor) -> Tensor:
        name = f"encoder.layers.{layer}"
        inner = self.linear(f"{name}.mlp.fc1", self.norm(f"{name}.layer_norm2", hidden))
        return hidden + self.linear(f"{name}.mlp.fc2", inner / (1 + torch.exp(-1.702 * inner)))

    def projected(self, hidden: Tensor) -> Tensor:
        return self.norm("post_layernorm", hidden) @ self.weights["visual_projection.weight"].T


def softmax(logits: Tensor) -> Tensor:
    """Over the last dimension, from its definition."""
    powers = torch.exp(logits)
    return powers / powers.sum(dim=-1, keepdim=True)
