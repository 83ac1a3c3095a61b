"""Time of a map relative to the stock forward pass of the same model: python benchmarks/overhead.py [--json FILE]

    stock_forward   the whole transformer, as in a step of a pipeline
    record          the pass that records the image stream, stopped after the last double block that is read
    ask             21 concepts on a recorded image
    map_run         record + ask
    naive           image, prompt and concepts side by side through all blocks; each block has a second, full attention
                    whose image rows are dropped, as in the reference implementation of the method
    naive_stopped   the same, stopped after the last block that is read

The runs take turns in several rounds; the results are medians of the rounds' ratios. The model has the shape of FLUX.1
(19 double, 38 single blocks) at a width that fits a laptop, with 1,024 image tokens.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import torch
from diffusers import FluxTransformer2DModel
from in_turn import in_turn
from naive_flux import naive_flux

from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.families.flux import Flux
from ca_seg.concept.ask import Layout, ask_streams
from ca_seg.concept.record import record_streams

FLUX, TEXT = Flux(), 256


def model(double: int, single: int, width: int) -> FluxTransformer2DModel:
    """A FLUX.1 transformer with random weights."""
    torch.manual_seed(0)
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=double,
        num_single_layers=single,
        attention_head_dim=64,
        num_attention_heads=width // 64,
        joint_attention_dim=512,
        pooled_projection_dim=128,
        axes_dims_rope=(8, 28, 28),
    ).eval()


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--rounds", type=int, default=5, help="after one warm-up round")
    parser.add_argument("--double", type=int, default=19, help="number of double blocks")
    parser.add_argument("--single", type=int, default=38, help="number of single blocks")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--side", type=int, default=32, help="image tokens of one side")
    parser.add_argument("--concepts", type=int, default=21)
    args = parser.parse_args()
    transformer = model(args.double, args.single, args.width)
    latents, timestep = torch.randn(1, 16, 2 * args.side, 2 * args.side), torch.tensor([0.5])
    prompt = TextTokens(torch.randn(1, TEXT, 512), torch.randn(1, 128))
    inputs = FLUX.inputs(transformer, latents, prompt, timestep, 0.0)
    attentions, last = FLUX.attentions(transformer), args.double - 1

    def record():
        tokens = args.side**2
        return record_streams(transformer, attentions, inputs, image_tokens=tokens, text_first=True, last_layer=last)[0]

    def ask(streams, count):
        concepts = TextTokens(torch.randn(1, count, 512), torch.zeros(1, 128))
        call = FLUX.concept_inputs(transformer, inputs) | FLUX.text_inputs(transformer, concepts, concepts=True)
        return ask_streams(transformer, attentions, call, streams, Layout(count, text_first=True))

    def naive(layers):
        concepts = TextTokens(torch.randn(1, args.concepts, 512), torch.zeros(1, 128))
        return naive_flux(
            transformer,
            inputs["hidden_states"],
            prompt.hidden,
            prompt.pooled,
            concepts.hidden,
            concepts.pooled,
            timestep,
            inputs["img_ids"],
            attention=torch.nn.functional.scaled_dot_product_attention,
            full=True,
            stop=layers,
        )

    streams = record()
    times = in_turn(
        args.rounds,
        {
            "stock_forward": lambda: transformer(**inputs),
            "record": record,
            "ask": lambda: ask(streams, args.concepts),
            "map_run": lambda: ask(record(), args.concepts),
            "naive": lambda: naive(None),
            "naive_stopped": lambda: naive(args.double),
            "ask_10": lambda: ask(streams, 10),
            "ask_1000": lambda: ask(streams, 1000),
        },
    )

    def ratio(a: str, b: str) -> float:
        return statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))

    pairs = [
        ("map_run", "stock_forward"),
        ("map_run", "record"),
        ("ask", "record"),
        ("naive", "map_run"),
        ("naive_stopped", "map_run"),
        ("ask_1000", "ask_10"),
    ]
    report = {
        "shape": {k: getattr(args, k) for k in ("double", "single", "width", "side", "concepts")},
        "threads": torch.get_num_threads(),
        "seconds": {name: statistics.median(values) for name, values in times.items()},
        "ratios": {f"{a}/{b}": ratio(a, b) for a, b in pairs},
    }
    for name, seconds in report["seconds"].items():
        print(f"{name:16} {1000 * seconds:9.1f} ms")
    for name, value in report["ratios"].items():
        print(f"{name:28} {value:7.3f}")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
