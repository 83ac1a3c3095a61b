"""The zoo as text: which backbones there are, what their cards say, and what memory they would take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ca_seg.backbones.families.registry import FAMILIES, unavailable
from ca_seg.backbones.loading.card import Card, card_names, find_card
from ca_seg.backbones.loading.plan import GIB, Plan, plan
from ca_seg.backbones.loading.profiles import PROFILES
from ca_seg.heads.trained import load_head
from ca_seg.resources import resource_path

FIGURE = "metrics/full-vocabulary/miou"


def print_zoo(console: Console) -> None:
    """Two lines per card."""
    for name in card_names():
        card = find_card(name)
        console.print(f"[bold]{name}[/]  {escape(card.summary)}", highlight=False)
        facts = f"{card.family}, {card.parameters / 1e6:,.1f} M parameters, {card.licence}, {_where(card)}"
        console.print(f"    {escape(facts)}", style="dim", highlight=False)
        why = unavailable(FAMILIES[card.family])
        if why:
            console.print(f"    unavailable: {why}", style="red", highlight=False)


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


def print_plan(made: Plan, console: Console) -> None:
    """What goes where, and the larger of the two moments."""
    card, profile = made.card, made.profile
    blocks = f"blocks 0 to {made.last_layer} and what is around them, {made.transformer / 1e9:.2f} of "
    table = Table("moment", "what", "GiB", box=None, pad_edge=False)
    for folder, size in made.text.items():
        table.add_row("words", f"{folder} ({card.parts[folder]}), {profile.dtype}".replace("torch.", ""), _gib(size))
    table.add_row(
        "maps", f"transformer: {blocks}{card.parameters / 1e9:.2f} B, {profile.name}", _gib(made.transformer_bytes)
    )
    table.add_row("maps", "autoencoder", _gib(made.autoencoder_bytes))
    table.add_row(
        "maps", f"recording of one image of {made.resolution} x {made.resolution}", _gib(made.recording_bytes)
    )
    console.print(f"[bold]{card.name}[/], {profile.name}: computed from the published architecture, nothing loaded")
    console.print(table)
    console.print(
        f"at least {_gib(made.peak_bytes)} GiB on a GPU: the words' encoders are freed before maps are made"
        f"{', beside the quantised transformer' if profile.quantised else ''}. "
        f"Activations come on top. Measured: {card.memory}",
        soft_wrap=True,
    )


def model_zoo() -> str:
    """MODEL_ZOO.md, from the cards alone."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield "# Model zoo"
    yield ""
    yield (
        "Made from the cards by `ca-seg zoo page --out MODEL_ZOO.md`; edit `ca_seg/backbones/loading/cards/` and run it again. "
        "`ca-seg zoo show NAME` prints all of a card, `ca-seg zoo plan NAME` what memory it would take."
    )
    yield ""
    yield "| name | family | parameters, B | maps read layers | at t | text | licence | weights | memory measured |"
    yield "|---|---|---:|---|---:|---|---|---|---|"
    for name in card_names():
        card = find_card(name)
        text = "word table" if card.text == "word-table" else " + ".join(_encoders(card))
        cells = (
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
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "## Memory plans"
    yield ""
    yield (
        "GiB of transformer blocks up to the last wanted layer + autoencoder + recording of one image, computed from "
        "the published architecture; activations come on top. None of these was measured."
    )
    yield ""
    yield f"| name | {' | '.join(PROFILES)} | text encoders, bf16, freed before |"
    yield f"|---|{'---:|' * (len(PROFILES) + 1)}"
    for name in card_names():
        if not find_card(name).architecture:
            continue
        plans = [plan(name, precision=precision) for precision in PROFILES]
        maps = [_gib(p.transformer_bytes + p.autoencoder_bytes + p.recording_bytes) for p in plans]
        yield f"| `{name}` | {' | '.join(maps)} | {_gib(sum(plan(name).text.values()))} |"
    yield ""
    yield from _heads()


def _heads() -> Iterator[str]:
    """The heads that ship, from the configs that score them."""
    yield "## Trained heads"
    yield ""
    yield (
        "Heads that ship in `checkpoints/heads/`, each with the config that scores it: `python eval.py --config-file "
        "FILE` fails when the figure drifts. Figures are mIoU with all classes offered, on the part that is named."
    )
    yield ""
    yield "| head | backbone | kind | reads | parameters | part | mIoU | config |"
    yield "|---|---|---|---|---:|---|---:|---|"
    for file in sorted(resource_path("configs", "trained").glob("*.yaml")):
        told = yaml.safe_load(file.read_text(encoding="utf-8"))
        head = load_head(told["model"]["head"])
        cells = (
            f"`{Path(told['model']['head']).name}`",
            f"`{head.backbone}`",
            head.kind,
            ", ".join(head.parts),
            f"{sum(p.numel() for p in head.parameters()):,}",
            told["data"]["splits"][0],
            f"{100 * told['expect'][FIGURE][0]:.1f}",
            f"`configs/trained/{file.name}`",
        )
        yield f"| {' | '.join(cells)} |"


def _where(card: Card) -> str:
    return "shipped" if card.folder else f"{card.hub}{', gated' if card.gated else ''}"


def _encoders(card: Card) -> list[str]:
    return [part for folder, part in card.parts.items() if folder.startswith("text_encoder")]


def _range(layers: tuple[int, ...]) -> str:
    whole = list(range(layers[0], layers[-1] + 1))
    return f"{layers[0]}-{layers[-1]}" if list(layers) == whole and len(whole) > 2 else ", ".join(map(str, layers))


def _gib(size: float) -> str:
    return f"{size / GIB:.1f}"
