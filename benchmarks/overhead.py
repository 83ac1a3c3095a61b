"""Time of a map relative to the stock forward pass of the same model: python benchmarks/overhead.py [--json FILE]

    stock_forward   the whole transformer, as in a step of a pipeline
    record          the pass that records the image stream, stopped after the last double block that is read
    ask             21 concepts on a recorded image
    map_run         record + ask
    naive           image, prompt and concepts side by side through all blocks; each block has a second, full attention
                    whose image rows are dropped, as in the reference implementation of the method
    naive_stopped   the same, stopped after the last block that is read
    ask_before      an ask with all weights of the stock model, as up to version 0.2
    first_ask       the first ask of a recording, which computes its modulation (`ask` is a further one)
    known_words     record and ask in turns, for words that are known beforehand

Blocks of --widths are asked too, in each of --types, beside `ideal`: the text branch written by hand, the least that an
ask must compute. `largest_difference` compares the vectors of the three.

The runs take turns in several rounds; the results are medians of the rounds' ratios. The model has the shape of FLUX.1
(19 double, 38 single blocks) at a width that fits a laptop, with 1,024 image tokens.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import torch
from ask_before import ask_before, ideal_ask, modulation_of
from diffusers import FluxTransformer2DModel
from in_turn import in_turn
from naive_flux import naive_flux

from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.families.flux import Flux
from ca_seg.concept.ask import Layout, ask_streams
from ca_seg.concept.known_words import record_and_ask
from ca_seg.concept.linears import Modulation
from ca_seg.concept.record import Kept, record_streams

FLUX, TEXT = Flux(), 256
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WIDE_BLOCKS = 3  # of a wide model: blocks are alike


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


def median_ratio(times: dict[str, list[float]], a: str, b: str) -> float:
    """The median over the rounds of the times of a divided by those of b."""
    return statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))


@torch.no_grad()
def ask_ratios(width: int, dtype: torch.dtype, side: int, count: int, rounds: int) -> dict[str, float]:
    """Three ways to ask blocks of a width in a type, and how far their vectors are apart."""
    transformer = model(WIDE_BLOCKS, 0, width).to(dtype)
    prompt = TextTokens(torch.randn(1, TEXT, 512, dtype=dtype), torch.randn(1, 128, dtype=dtype))
    timestep, latents = torch.tensor([0.5], dtype=dtype), torch.randn(1, 16, 2 * side, 2 * side, dtype=dtype)
    inputs, attentions = FLUX.inputs(transformer, latents, prompt, timestep, 0.0), FLUX.attentions(transformer)
    last = WIDE_BLOCKS - 1
    kept = Kept((last,), ("output",), ("key", "value"))
    streams, _ = record_streams(
        transformer, attentions, inputs, image_tokens=side**2, text_first=True, last_layer=last, kept=kept
    )
    concepts = TextTokens(torch.randn(1, count, 512, dtype=dtype), torch.zeros(1, 128, dtype=dtype))
    call = FLUX.concept_inputs(transformer, inputs) | FLUX.text_inputs(transformer, concepts, concepts=True)
    linears, known = FLUX.ask_linears(transformer), Modulation()
    by_hand = modulation_of(transformer, transformer.time_text_embed(1000 * timestep, concepts.pooled))

    def ask(modulation: Modulation):
        reading = linears.reading(modulation)
        return ask_streams(transformer, attentions, call, streams, Layout(count, text_first=True), linears=reading)

    runs = {
        "ask": lambda: ask(known),
        "first_ask": lambda: ask(Modulation()),
        "ask_before": lambda: ask_before(transformer, attentions, call, streams, count),
        "ideal": lambda: ideal_ask(transformer, concepts.hidden, streams, by_hand),
    }
    vectors = [stream.part("output") for stream in runs["ask"]()]
    others = zip(vectors, runs["ask_before"](), runs["ideal"](), strict=True)
    apart = max(float((x.float() - y.float()).abs().max()) for x, *rest in others for y in rest)
    times = in_turn(rounds, runs)
    pairs = [("ask", "ask_before"), ("first_ask", "ask_before"), ("ask", "ideal")]
    return {f"{a}/{b}": median_ratio(times, a, b) for a, b in pairs} | {"largest_difference": apart}


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
    parser.add_argument(
        "--widths", type=int, nargs="*", default=[1536, 3072], help="of the wide blocks; none: leave out"
    )
    parser.add_argument("--types", nargs="+", choices=list(TYPES), default=list(TYPES), help="of the wide blocks")
    args = parser.parse_args()
    transformer = model(args.double, args.single, args.width)
    latents, timestep = torch.randn(1, 16, 2 * args.side, 2 * args.side), torch.tensor([0.5])
    prompt = TextTokens(torch.randn(1, TEXT, 512), torch.randn(1, 128))
    inputs = FLUX.inputs(transformer, latents, prompt, timestep, 0.0)
    attentions, last = FLUX.attentions(transformer), args.double - 1
    read = tuple(range(max(0, args.double - 4), args.double))  # the last four double blocks
    recorded = {"image_tokens": args.side**2, "text_first": True, "last_layer": last}
    linears, known = FLUX.ask_linears(transformer), Modulation()

    def record():
        kept = Kept(read, ("output",), ("key", "value"))
        return record_streams(transformer, attentions, inputs, kept=kept, **recorded)[0]

    def asked(count):
        concepts = TextTokens(torch.randn(1, count, 512), torch.zeros(1, 128))
        return FLUX.concept_inputs(transformer, inputs) | FLUX.text_inputs(transformer, concepts, concepts=True)

    def ask(streams, count, modulation, **options):
        layout, reading = Layout(count, text_first=True), linears.reading(modulation)
        return ask_streams(transformer, attentions, asked(count), streams, layout, linears=reading, **options)

    def known_words():
        kept = Kept(read, ("output",))

        def in_turns(image):
            return ask(image, args.concepts, Modulation(), kept=kept, last_layer=last)

        return record_and_ask(
            transformer, attentions, FLUX.blocks(transformer), inputs, in_turns, kept=kept, **recorded
        )

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
            "ask": lambda: ask(streams, args.concepts, known),
            "ask_before": lambda: ask_before(transformer, attentions, asked(args.concepts), streams, args.concepts),
            "first_ask": lambda: ask(streams, args.concepts, Modulation()),
            "map_run": lambda: ask(record(), args.concepts, Modulation()),
            "known_words": known_words,
            "naive": lambda: naive(None),
            "naive_stopped": lambda: naive(args.double),
            "ask_10": lambda: ask(streams, 10, known),
            "ask_1000": lambda: ask(streams, 1000, known),
        },
    )
    pairs = [
        ("map_run", "stock_forward"),
        ("map_run", "record"),
        ("ask", "record"),
        ("naive", "map_run"),
        ("naive_stopped", "map_run"),
        ("ask_1000", "ask_10"),
        ("ask", "ask_before"),
        ("first_ask", "ask_before"),
        ("known_words", "map_run"),
    ]
    wide = {
        f"width {width}, {name}": ask_ratios(width, TYPES[name], args.side, args.concepts, args.rounds)
        for width in args.widths
        for name in args.types
    }
    report = {
        "shape": {k: getattr(args, k) for k in ("double", "single", "width", "side", "concepts")},
        "threads": torch.get_num_threads(),
        "seconds": {name: statistics.median(values) for name, values in times.items()},
        "ratios": {f"{a}/{b}": median_ratio(times, a, b) for a, b in pairs}
        | {f"{name} ({shape})": value for shape, ratios in wide.items() for name, value in ratios.items()},
    }
    for name, seconds in report["seconds"].items():
        print(f"{name:16} {1000 * seconds:9.1f} ms")
    for name, value in report["ratios"].items():
        print(f"{name:42} {value:7.3f}")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
