"""The zoo as text: which backbones there are, and what their cards say."""

from __future__ import annotations

from dataclasses import fields

from rich.console import Console
from rich.markup import escape

from ca_seg.backbones.card import card_names, find_card


def print_zoo(console: Console) -> None:
    """Two lines per card."""
    for name in card_names():
        card = find_card(name)
        where = "shipped" if card.folder else f"{card.hub}{', gated' if card.gated else ''}"
        console.print(f"[bold]{name}[/]  {escape(card.summary)}", highlight=False)
        facts = f"{card.family}, {card.parameters / 1e6:,.1f} M parameters, {card.licence}, {where}"
        console.print(f"    {escape(facts)}", style="dim", highlight=False)


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
