"""`ca-seg methods`: every method that can be compared, from its card."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from ca_seg.methods.card import MethodCard
from ca_seg.methods.registry import find_method, list_methods

WORDS = {"free": "any words", "fixed": "the classes of its network", "none": "class-agnostic: one class, no words"}


def run(arguments: Sequence[str]) -> int:
    """0; three lines for each method."""
    description = "The methods: words that they see, what they are built from, real weights and their licence."
    argparse.ArgumentParser(prog="ca-seg methods", description=description).parse_args(arguments)
    console = Console()
    for card in map(find_method, list_methods()):
        console.print(f"[bold]{card.name}[/]  {escape(card.summary)}", highlight=False, soft_wrap=True)
        for line in (card.paper, "; ".join(_facts(card))):
            if line:
                console.print(f"    {escape(line)}", style="dim", highlight=False, soft_wrap=True)
    return 0


def _facts(card: MethodCard) -> list[str]:
    takes = f"takes a {card.takes}" if card.takes else "in evaluations only"
    weights = [f"{weights} ({weights.licence})" for weights in card.weights]
    return [card.kind, WORDS[card.words], takes, *weights]
