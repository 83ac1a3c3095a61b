"""`ca-seg zoo list | show | plan | page`: the backbones."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ca_seg.zoo import model_zoo, print_card, print_cost, print_plan, print_zoo


def run(arguments: Sequence[str]) -> int:
    """0; what cannot be shown raises UserError."""
    options = _parser().parse_args(list(arguments))
    if options.action == "list":
        print_zoo(Console(), options.pattern)
    elif options.action == "show":
        print_card(options.name, Console())
    elif options.action == "plan":
        from ca_seg.backbones.loading.plan import plan  # here: it imports torch, diffusers and transformers

        print_plan(
            plan(
                options.name,
                precision=options.precision,
                last_layer=options.last_layer,
                resolution=options.resolution,
            ),
            Console(),
        )
        if options.cost:
            from ca_seg.backbones.cost.cost import map_cost

            cost = map_cost(
                options.name,
                precision=options.precision,
                last_layer=options.last_layer,
                resolution=options.resolution,
            )
            print_cost(cost, options.words, Console())
    else:
        from ca_seg.atomic import atomic_write

        with atomic_write(options.out) as part:
            part.write_text(model_zoo(), encoding="utf-8")
        print(options.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ca-seg zoo", description="The backbones, from their cards.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|plan|page")
    listed = actions.add_parser("list", help="all backbones, two lines each")
    listed.add_argument("pattern", nargs="?", help='only names that match, such as "flux*"')
    show = actions.add_parser("show", help="one card")
    show.add_argument("name", metavar="NAME")
    planned = actions.add_parser("plan", help="the memory that a backbone will take; nothing is loaded")
    planned.add_argument("name", metavar="NAME")
    planned.add_argument("--precision", default="bf16", help="fp32, bf16, fp16, bnb-nf4, bnb-int8, ao-int8 or ao-fp8")
    planned.add_argument(
        "--last-layer", "--last_layer", type=int, help="the last block to load (default: the card's last layer)"
    )
    planned.add_argument("--resolution", type=int, help="pixels of the short side (default: the card's)")
    planned.add_argument(
        "--cost", action="store_true", help="also operations and memory traffic, and the least time on GPUs"
    )
    planned.add_argument("--words", type=int, default=21, help="words that are asked, for --cost")
    page = actions.add_parser("page", help="write MODEL_ZOO.md from the cards")
    page.add_argument("--out", type=Path, default=Path("MODEL_ZOO.md"))
    return parser
