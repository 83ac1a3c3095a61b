"""Time of a map relative to the stock forward pass, per family: python benchmarks/families.py [--json FILE]

Each model has the depth of its card, a width of 256 (to fit a laptop) and random weights, with 1,024 image tokens, 128
prompt tokens and 21 concepts. It is recorded up to the card's last layer. The runs take turns in several rounds; the
results are medians of the rounds' ratios. A file written with --json has these ratios per card.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import torch
from in_turn import in_turn

from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.families.registry import diffusers_class, find_family
from ca_seg.backbones.loading.card import find_card
from ca_seg.concept.ask import Layout, ask_streams
from ca_seg.concept.record import record_streams

TEXT, POOLED, PROMPT, CONCEPTS = 512, 128, 128, 21
NARROW = {  # card: the settings that make it 256 wide, and the shape of the latents of 32 x 32 tokens
    "flux1-dev": (
        {"num_attention_heads": 2, "joint_attention_dim": TEXT, "pooled_projection_dim": POOLED},
        (16, 64, 64),
    ),
    "chroma1-hd": (
        {"num_attention_heads": 2, "joint_attention_dim": TEXT, "approximator_hidden_dim": 256},
        (16, 64, 64),
    ),
    "flux2-dev": ({"num_attention_heads": 2, "joint_attention_dim": TEXT}, (128, 32, 32)),
    "flux2-klein-4b": ({"num_attention_heads": 2, "joint_attention_dim": TEXT}, (128, 32, 32)),
    "sd3.5-medium": (
        {
            "num_attention_heads": 4,
            "caption_projection_dim": 256,
            "joint_attention_dim": TEXT,
            "pooled_projection_dim": POOLED,
        },
        (16, 64, 64),
    ),
    "qwen-image": ({"num_attention_heads": 2, "joint_attention_dim": TEXT}, (16, 64, 64)),
    "auraflow-v0.3": (
        {"num_attention_heads": 1, "caption_projection_dim": 256, "joint_attention_dim": TEXT},
        (4, 64, 64),
    ),
    "cogview4-6b": ({"num_attention_heads": 2, "text_embed_dim": TEXT}, (16, 64, 64)),
    "cogvideox-5b": ({"num_attention_heads": 4, "text_embed_dim": TEXT}, (16, 1, 64, 64)),
    "hunyuan-video": (
        {"num_attention_heads": 2, "text_embed_dim": TEXT, "pooled_projection_dim": POOLED},
        (16, 1, 64, 64),
    ),
    "z-image-turbo": ({"dim": 256, "n_heads": 2, "n_kv_heads": 2, "cap_feat_dim": TEXT}, (16, 64, 64)),
    "ovis-image-7b": ({"num_attention_heads": 2, "joint_attention_dim": TEXT}, (16, 64, 64)),
    "hunyuan-image-2.1": ({"num_attention_heads": 2, "text_embed_dim": TEXT}, (64, 32, 32)),
}


@torch.no_grad()
def measure(name: str, rounds: int) -> dict[str, float]:
    """The median ratios of one card, its number of blocks, and how many of them are needed."""
    card, (narrow, shape) = find_card(name), NARROW[name]
    family = find_family(card.family)
    torch.manual_seed(0)
    model = diffusers_class(family, family.transformer)(**card.architecture | narrow).eval()
    pooled = torch.randn(1, POOLED) if "pooled_projection_dim" in narrow else None
    prompt = TextTokens(torch.randn(1, PROMPT, TEXT), pooled)
    concepts = TextTokens(torch.randn(1, CONCEPTS, TEXT), None if pooled is None else torch.zeros_like(pooled))
    inputs = family.inputs(model, torch.randn(1, *shape), prompt, torch.tensor([0.5]), 3.5)
    grid, attentions = family.grid(model, inputs), family.attentions(model)
    layout = Layout(CONCEPTS, family.text_first, family.registers(model))

    def record():
        return record_streams(
            model,
            attentions,
            inputs,
            image_tokens=grid.tokens,
            text_first=family.text_first,
            last_layer=max(card.layers),
        )[0]

    def ask(streams):
        call = family.joined(family.concept_inputs(model, inputs), family.text_inputs(model, concepts, concepts=True))
        with family.asking(model, grid):
            return ask_streams(model, attentions, call, streams, layout)

    streams = record()
    runs = {
        "stock_forward": lambda: model(**inputs),
        "record": record,
        "ask": lambda: ask(streams),
        "map_run": lambda: ask(record()),
    }
    times = in_turn(rounds, runs)
    pairs = [("map_run", "stock_forward"), ("map_run", "record"), ("ask", "record")]
    ratios = {f"{a}/{b}": statistics.median(x / y for x, y in zip(times[a], times[b], strict=True)) for a, b in pairs}
    return ratios | {"blocks": len(attentions), "needed": max(card.layers) + 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--rounds", type=int, default=5, help="after one warm-up round")
    parser.add_argument("--cards", nargs="+", choices=list(NARROW), default=list(NARROW), help="default: all")
    args = parser.parse_args()
    report = {}
    print(f"{'card':20} blocks needed  map_run/stock_forward  map_run/record  ask/record")
    for name in args.cards:
        report[name] = figures = measure(name, args.rounds)
        print(
            f"{name:20} {figures['blocks']:6} {figures['needed']:6}  {figures['map_run/stock_forward']:21.3f}"
            f"  {figures['map_run/record']:14.3f}  {figures['ask/record']:10.3f}",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps({"ratios": report}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
