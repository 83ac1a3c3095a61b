"""Memory of a map: python benchmarks/memory.py [--json FILE]

    reference         image, prompt and concepts side by side, stopped after the last block that is read, as in the
                      reference implementation of the method
    recording_before  record + ask as up to version 0.2: views on all keys, values and outputs
    full_recording    record + ask; the recording can be asked any words later
    known_words       record and ask in turns; the words are known beforehand

Each runs in a process of its own, on the same FLUX.1 shape with random weights. `peak` is by how much the memory of
the process grew at most (resident; Linux), `kept` the bytes that the recording holds afterwards.

    known_words/full_recording    of `kept`; known_words/recording_before likewise
    reference/ours                of `peak`; ours is known_words, as in `segment` and `label`
    plan/allocated                what `zoo plan` computes for a recording, to what it holds; of the cards the ratio
                                  that is farthest from 1
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.families.flux import Flux
from ca_seg.backbones.families.registry import diffusers_class, find_family
from ca_seg.backbones.loading.card import find_card
from ca_seg.backbones.loading.plan import recording_bytes
from ca_seg.concept.ask import Layout, ask_streams
from ca_seg.concept.known_words import record_and_ask
from ca_seg.concept.linears import Modulation
from ca_seg.concept.record import PARTS, Kept, Stream, record_streams

WAYS = ("reference", "recording_before", "full_recording", "known_words")
QUARTER = 4  # maps read one in so many double blocks, the last ones, as the card of FLUX.1 does
MIB = 2**20
CARDS = ("flux1-dev", "flux2-klein-4b", "sd3.5-medium")


def resident(field: str = "VmRSS") -> int:
    """Bytes of this process in memory; VmHWM: the most so far."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def held(streams: Iterable[Stream]) -> int:
    """Bytes that streams keep alive: whole storages, also where a tensor is a part of one."""
    parts = [part for stream in streams for name in PARTS if (part := getattr(stream, name)) is not None]
    storages = {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in parts}
    return sum(storages.values())


class Case:
    """One way to compute maps, on random weights."""

    def __init__(self, args: argparse.Namespace, side: int) -> None:
        from overhead import model  # beside this file

        self.family, self.side, self.words = Flux(), side, args.concepts
        self.transformer = model(args.double, args.single, args.width)
        self.last = args.double - 1
        self.read = tuple(range(args.double - max(1, args.double // QUARTER), args.double))
        self.prompt = TextTokens(torch.randn(1, 256, 512), torch.randn(1, 128))
        self.concepts = TextTokens(torch.randn(1, args.concepts, 512), torch.zeros(1, 128))

    def inputs(self, side: int) -> dict[str, Any]:
        return self.family.inputs(
            self.transformer, torch.randn(1, 16, 2 * side, 2 * side), self.prompt, torch.tensor([0.5]), 0.0
        )

    @torch.no_grad()
    def run(self, way: str, side: int) -> list[Stream]:
        """What is kept afterwards."""
        inputs = self.inputs(side)
        attentions = self.family.attentions(self.transformer)
        if way == "reference":
            return self._reference(inputs)
        call = self.family.concept_inputs(self.transformer, inputs)
        call |= self.family.text_inputs(self.transformer, self.concepts, concepts=True)
        reading = self.family.ask_linears(self.transformer).reading(Modulation())
        layout, kept = Layout(self.words, text_first=True), Kept(self.read, ("output",))
        recorded = {"image_tokens": side**2, "text_first": True, "last_layer": self.last}

        def ask(image: Any, **options: Any) -> list[Stream]:
            return ask_streams(self.transformer, attentions, call, image, layout, linears=reading, **options)

        if way in ("full_recording", "recording_before"):
            everything = Kept(self.read, ("output",), ("key", "value")) if way == "full_recording" else None
            streams, _ = record_streams(self.transformer, attentions, inputs, kept=everything, **recorded)
            ask(streams)
            return streams
        blocks = self.family.blocks(self.transformer)
        streams, concept, _ = record_and_ask(
            self.transformer,
            attentions,
            blocks,
            inputs,
            lambda image: ask(image, kept=kept, last_layer=self.last),
            kept=kept,
            **recorded,
        )
        return streams + concept

    def _reference(self, inputs: dict[str, Any]) -> list[Stream]:
        from naive_flux import naive_flux  # beside this file

        layers = naive_flux(
            self.transformer,
            inputs["hidden_states"],
            self.prompt.hidden,
            self.prompt.pooled,
            self.concepts.hidden,
            self.concepts.pooled,
            inputs["timestep"],
            inputs["img_ids"],
            attention=torch.nn.functional.scaled_dot_product_attention,
            full=True,
            stop=self.last + 1,
            kept_layers=self.read,
        )
        return [Stream(None, None, None, layer["image_output"]) for layer in layers]


def measure(way: str, args: argparse.Namespace) -> dict[str, int]:
    """Run by a process of its own."""
    case = Case(args, args.side)
    case.run(way, 8)
    gc.collect()
    before = resident()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the highest so far is forgotten
    kept = case.run(way, args.side)
    return {"peak": resident("VmHWM") - before, "kept": held(kept)}


@torch.no_grad()
def plan_to_allocated(name: str) -> float:
    """What `zoo plan` computes for a recording of a card, narrowed to 256 channels, to what it holds."""
    from families import NARROW, PROMPT, TEXT  # beside this file

    card, (narrow, shape) = find_card(name), NARROW[name]
    family = find_family(card.family)
    model = diffusers_class(family, family.transformer)(**card.architecture | narrow).eval()
    pooled = torch.randn(1, 128) if "pooled_projection_dim" in narrow else None
    prompt = TextTokens(torch.randn(1, PROMPT, TEXT), pooled)
    inputs = family.inputs(model, torch.randn(1, *shape), prompt, torch.tensor([0.5]), 3.5)
    tokens, last = family.grid(model, inputs).tokens, max(card.layers)
    kept = Kept(card.layers, ("output",), ("key", "value"))
    streams, _ = record_streams(
        model,
        family.attentions(model),
        inputs,
        image_tokens=tokens,
        text_first=family.text_first,
        last_layer=last,
        kept=kept,
    )
    planned = recording_bytes(tokens, 256, layers=last + 1, read=len(card.layers), size=4)
    return planned / held(streams)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each way, in turn; medians are given")
    parser.add_argument("--double", type=int, default=12, help="number of double blocks")
    parser.add_argument("--single", type=int, default=12, help="number of single blocks")
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--side", type=int, default=64, help="image tokens of one side")
    parser.add_argument("--concepts", type=int, default=21)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        print(json.dumps(measure(args.way, args)))
        return
    figures: dict[str, list[dict[str, int]]] = {way: [] for way in WAYS}
    for _ in range(args.rounds):
        for way in WAYS:
            command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            figures[way].append(json.loads(output.splitlines()[-1]))
    medians = {
        way: {key: statistics.median(run[key] for run in runs) for key in ("peak", "kept")}
        for way, runs in figures.items()
    }
    plans = {name: plan_to_allocated(name) for name in CARDS}
    report = {
        "shape": {key: getattr(args, key) for key in ("double", "single", "width", "side", "concepts")},
        "mib": {way: {key: value / MIB for key, value in values.items()} for way, values in medians.items()},
        "plans": plans,
        "ratios": {
            "known_words/full_recording": medians["known_words"]["kept"] / medians["full_recording"]["kept"],
            "known_words/recording_before": medians["known_words"]["kept"] / medians["recording_before"]["kept"],
            "reference/ours": medians["reference"]["peak"] / medians["known_words"]["peak"],
            "plan/allocated": max(plans.values(), key=lambda ratio: abs(ratio - 1)),
        },
    }
    for way, values in report["mib"].items():
        print(f"{way:16} peak {values['peak']:8.1f} MiB   kept {values['kept']:8.1f} MiB")
    for name, value in report["ratios"].items():
        print(f"{name:28} {value:7.3f}")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
