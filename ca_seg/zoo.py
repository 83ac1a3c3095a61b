"""The model zoo as text: the backbones, their cards, and the memory that they take.

Listing and showing cards imports neither torch nor diffusers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ca_seg.backbones.families.registry import unavailable
from ca_seg.backbones.loading.card import Card, find_card, list_backbones
from ca_seg.resources import resource_path

if TYPE_CHECKING:
    from ca_seg.backbones.cost.cost import MapCost
    from ca_seg.backbones.loading.plan import Plan

GIB = 2**30
PROMPT_TOKENS = 21  # as an example in a plan
FIGURE = "metrics/full-vocabulary/miou"


def print_zoo(console: Console, pattern: str | None = None) -> None:
    """Two lines per card, of the backbones whose name matches `pattern` (None: all)."""
    for name in list_backbones(pattern):
        card = find_card(name)
        console.print(f"[bold]{name}[/]  {escape(card.summary)}", highlight=False)
        facts = f"{card.family}, {card.parameters / 1e6:,.1f} M parameters, {card.licence}, {_where(card)}"
        console.print(f"    {escape(facts)}", style="dim", highlight=False)
        reason = unavailable(card.family)
        if reason:
            console.print(f"    unavailable: {reason}", style="red", highlight=False)


def print_card(name: str, console: Console) -> None:
    """Every field of one card. Raises UnknownName."""
    card = find_card(name)
    for field in fields(card):
        value = getattr(card, field.name)
        if value in ("", {}, ()):
            continue
        if isinstance(value, dict):
            console.print(f"[bold]{field.name}")
            for key, text in value.items():
                console.print(f"    {key}: {escape(str(text))}", highlight=False)
        else:
            console.print(f"[bold]{field.name}[/] {escape(str(value))}", highlight=False)


def print_plan(plan: Plan, console: Console) -> None:
    """The size of every part, and of the two steps (words, maps) the larger sum."""
    card, profile = plan.card, plan.profile
    blocks = f"blocks 0 to {plan.last_layer} and the parts around them, {plan.transformer / 1e9:.2f} of "
    table = Table("step", "part", "GiB", box=None, pad_edge=False)
    for folder, size in plan.text.items():
        table.add_row("words", f"{folder} ({card.parts[folder]}), {profile.dtype}".replace("torch.", ""), _gib(size))
    table.add_row(
        "maps", f"transformer: {blocks}{card.parameters / 1e9:.2f} B, {profile.name}", _gib(plan.transformer_bytes)
    )
    table.add_row("maps", "autoencoder", _gib(plan.autoencoder_bytes))
    table.add_row(
        "maps", f"recording of one image of {plan.resolution} x {plan.resolution}", _gib(plan.recording_bytes)
    )
    table.add_row("", "the same, if the words are known beforehand", f"{plan.known_words_bytes / GIB:.2f}")
    beside_prompt = f"{plan.prompt_attention_bytes(PROMPT_TOKENS) / GIB:.2f}"
    table.add_row("", f"on top for readers of the prompt, of {PROMPT_TOKENS} tokens", beside_prompt)
    console.print(f"[bold]{card.name}[/], {profile.name}: computed from the published architecture, nothing loaded")
    console.print(table)
    beside = " A quantised transformer stays on the GPU beside them." if profile.quantised else ""
    console.print(
        f"at least {_gib(plan.peak_bytes)} GiB on a GPU. Text encoders are freed before maps are computed.{beside} "
        f"Activations come on top. Measured: {card.memory}",
        soft_wrap=True,
    )


def print_cost(cost: MapCost, words: int, console: Console) -> None:
    """The operations of every pass over an image, and the least GPU-hours for a million images by the GPUs' peaks."""
    from ca_seg.backbones.cost.gpus import GPUS  # here: it imports torch

    passes = {
        "autoencoder": cost.encode,
        "stock forward pass": cost.stock,
        "record": cost.record,
        f"ask {words} words": cost.ask(words),
        "a map: autoencoder, record, ask": cost.maps(words),
    }
    table = Table("one image", "TFLOP", "GB read and written", box=None, pad_edge=False)
    for name, operations in passes.items():
        table.add_row(name, f"{operations.flops / 1e12:.3f}", f"{operations.bytes / 1e9:.2f}")
    side = f"{cost.card.resolution} x {cost.card.resolution}"
    console.print(f"[bold]{cost.card.name}[/], {side}, {cost.profile.name}: computed from the shapes, not measured")
    console.print(table)
    hours = Table(
        "GPU", "peak, TFLOP/s", "bandwidth, TB/s", "ms a map", "GPU-hours a million", box=None, pad_edge=False
    )
    dtype, one = cost.profile.dtype, cost.maps(words)
    for gpu in GPUS.values():
        least = f"{1000 * gpu.seconds(one, dtype):.1f}", f"{gpu.hours(one, dtype=dtype):.1f}"
        hours.add_row(gpu.name, f"{gpu.peak(dtype) / 1e12:.1f}", f"{gpu.bandwidth / 1e12:.2f}", *least)
    console.print(hours)
    console.print("The least that each GPU can take, by its published peaks; no program reaches them.", soft_wrap=True)


def model_zoo() -> str:
    """The text of MODEL_ZOO.md, from the cards and the trained heads that ship."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    from ca_seg.backbones.loading.plan import plan  # here: they import torch, diffusers and transformers
    from ca_seg.backbones.loading.profiles import PROFILES

    yield "# Model zoo"
    yield ""
    yield (
        "Written from the cards by `ca-seg zoo page --out MODEL_ZOO.md`; edit `ca_seg/backbones/loading/cards/` and "
        "run it again. `ca-seg zoo show NAME` prints a whole card, `ca-seg zoo plan NAME` the memory that it takes."
    )
    yield ""
    yield "| name | family | parameters, B | maps read layers | at t | text | licence | weights | memory measured |"
    yield "|---|---|---:|---|---:|---|---|---|---|"
    for name in list_backbones():
        card = find_card(name)
        text = "word table" if card.text == "word-table" else " + ".join(_encoders(card))
        columns = (
            f"`{name}`",
            card.family,
            f"{card.parameters / 1e9:.3g}",
            _range(card.layers),
            str(card.timestep),
            text,
            card.licence,
            _where(card),
            card.memory,
        )
        yield f"| {' | '.join(columns)} |"
    yield ""
    yield "## Memory plans"
    yield ""
    yield (
        "GiB of the transformer's blocks up to the card's last layer, the autoencoder and the recording of one image, "
        "computed from the published architecture. Activations come on top. These figures are not measured."
    )
    yield ""
    yield f"| name | {' | '.join(PROFILES)} | text encoders, bf16, freed before |"
    yield f"|---|{'---:|' * (len(PROFILES) + 1)}"
    for name in list_backbones():
        if not find_card(name).architecture:
            continue
        plans = [plan(name, precision=precision) for precision in PROFILES]
        maps = [_gib(p.transformer_bytes + p.autoencoder_bytes + p.recording_bytes) for p in plans]
        yield f"| `{name}` | {' | '.join(maps)} | {_gib(sum(plan(name).text.values()))} |"
    yield ""
    yield from _heads()


def _heads() -> Iterator[str]:
    """The heads that ship, from the configs that evaluate them."""
    from ca_seg.heads.trained import load_head

    yield "## Trained heads"
    yield ""
    yield (
        "Heads that ship in `checkpoints/heads/`, each with the config that evaluates it: `ca-seg eval --config-file "
        "FILE` fails if the figure changes. Figures are mIoU with all classes offered, on the split that is named."
    )
    yield ""
    yield "| head | backbone | kind | reads | parameters | split | mIoU | config |"
    yield "|---|---|---|---|---:|---|---:|---|"
    for file in sorted(resource_path("configs", "trained").glob("*.yaml")):
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        head = load_head(config["model"]["head"])
        columns = (
            f"`{Path(config['model']['head']).name}`",
            f"`{head.backbone}`",
            head.kind,
            ", ".join(head.parts),
            f"{sum(p.numel() for p in head.parameters()):,}",
            config["data"]["splits"][0],
            f"{100 * config['expect'][FIGURE][0]:.1f}",
            f"`configs/trained/{file.name}`",
        )
        yield f"| {' | '.join(columns)} |"


def _where(card: Card) -> str:
    return "shipped" if card.folder else f"{card.hub}{', gated' if card.gated else ''}"


def _encoders(card: Card) -> list[str]:
    return [part for folder, part in card.parts.items() if folder.startswith("text_encoder")]


def _range(layers: tuple[int, ...]) -> str:
    run = list(range(layers[0], layers[-1] + 1))
    return f"{layers[0]}-{layers[-1]}" if list(layers) == run and len(run) > 2 else ", ".join(map(str, layers))


def _gib(size: float) -> str:
    return f"{size / GIB:.1f}"
