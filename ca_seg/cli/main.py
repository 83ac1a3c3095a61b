"""`ca-seg segment | video | video-eval | zoo | data | eval | two-class | compare | ablate | train | label ...`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ca_seg.cli.guarded import guarded
from ca_seg.cli.video_arguments import add_commands


def main() -> int:
    """The exit status: 0 done, 1 done in part (a picture was skipped, a figure is off), 2 could not start."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["eval"]:
        from ca_seg.cli.evaluate import evaluate

        return guarded(lambda: evaluate(arguments[1:]))
    if arguments[:1] == ["train"]:
        from ca_seg.cli.train import train

        return guarded(lambda: train(arguments[1:]))
    if arguments[:1] == ["label"]:
        from ca_seg.cli.label import label

        return guarded(lambda: label(arguments[1:]))
    if arguments[:1] == ["ablate"]:
        from ca_seg.cli.ablate import run_ablation

        return guarded(lambda: run_ablation(arguments[1:]))
    if arguments[:1] == ["two-class"]:
        from ca_seg.cli.two_class import run_two_class

        return guarded(lambda: run_two_class(arguments[1:]))
    if arguments[:1] == ["calibrate"]:
        from ca_seg.cli.calibrate import run_calibration

        return guarded(lambda: run_calibration(arguments[1:]))
    args = _parser().parse_args(arguments)
    return guarded(lambda: args.run(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ca-seg", description="Frozen diffusion transformers as segmentation backbones."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    segment = commands.add_parser("segment", help="segment pictures by words")
    segment.add_argument("pictures", type=Path, nargs="+", metavar="PHOTO")
    segment.add_argument("--concepts", nargs="+", required=True, metavar="WORD", help="what to look for")
    segment.add_argument("--backbone", default="mini", metavar="NAME", help="a name from `ca-seg zoo list`")
    segment.add_argument("--weights", type=Path, help="a local folder with the weights")
    segment.add_argument("--gguf", type=Path, help="a GGUF file of the transformer")
    segment.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    segment.add_argument("--precision", help="fp32, bf16, fp16, bnb-nf4, bnb-int8, ao-int8 or ao-fp8")
    segment.add_argument("--offload", default="none", help="group: the transformer stays in main memory")
    segment.add_argument("--template", default="{}", help='a sentence to put each concept into: "a photo of a {}"')
    segment.add_argument("--phrase_pooling", help="which of a phrase's tokens stands for it: first, mean or last")
    segment.add_argument("--resolution", type=int, help="pixels of the short side (default: the card's)")
    segment.add_argument("--layers", type=int, nargs="+", help="the joint attentions that maps read")
    segment.add_argument("--timestep", type=float, help="0 (clean) to 1 (noise)")
    segment.add_argument("--samples", type=int, help="noise samples")
    segment.add_argument("--space", help="output, cross-attention or value")
    segment.add_argument("--seed", type=int, default=0)
    segment.add_argument("--out", type=Path, default=Path("out/segment"))
    segment.set_defaults(run=_segment)

    zoo = commands.add_parser("zoo", help="the backbones").add_subparsers(required=True, metavar="list|show|plan|page")
    zoo.add_parser("list", help="all of them").set_defaults(run=_zoo_list)
    show = zoo.add_parser("show", help="one card")
    show.add_argument("name")
    show.set_defaults(run=_zoo_show)
    planned = zoo.add_parser("plan", help="what memory one would take, before anything is loaded")
    planned.add_argument("name")
    planned.add_argument("--precision", default="bf16", help="fp32, bf16, fp16, bnb-nf4, bnb-int8, ao-int8 or ao-fp8")
    planned.add_argument("--last_layer", type=int, help="the last block to load (default: the card's last layer)")
    planned.add_argument("--resolution", type=int, help="pixels of the short side (default: the card's)")
    planned.set_defaults(run=_zoo_plan)
    page = zoo.add_parser("page", help="MODEL_ZOO.md from the cards")
    page.add_argument("--out", type=Path, default=Path("MODEL_ZOO.md"))
    page.set_defaults(run=_zoo_page)

    data = commands.add_parser("data", help="the datasets").add_subparsers(required=True, metavar="list|path")
    data.add_parser("list", help="all of them").set_defaults(run=_data_list)
    path = data.add_parser("path", help="the folder of one that ships")
    path.add_argument("name")
    path.set_defaults(run=_data_path)

    add_commands(commands)
    compared = commands.add_parser("compare", help="two results.json of the same pictures, with intervals")
    compared.add_argument("first", type=Path, metavar="A.json")
    compared.add_argument("second", type=Path, metavar="B.json")
    compared.add_argument("--seed", type=int, default=0)
    compared.set_defaults(run=_compare)

    seen = commands.add_parser("review", help="a page of the least certain labels of a run, and its statistics")
    seen.add_argument("run_folder", type=Path, metavar="OUT", help="the folder that `ca-seg label` wrote")
    seen.add_argument("--count", type=int, default=100, help="pictures on the page")
    seen.add_argument("--by", default="confidence", help="confidence, class or area: which pictures are worth a look")
    seen.add_argument("--sample", type=int, default=500, help="pictures whose pixels are counted by confidence")
    seen.add_argument("--pictures", type=Path, help="where the pictures lie now, if they were moved")
    seen.add_argument("--out", type=Path, help="the page (default: OUT/review.html)")
    seen.set_defaults(run=_review)

    commands.add_parser("eval", help="zero-shot evaluation: ca-seg eval --config-file FILE (--help for more)")
    commands.add_parser("ablate", help="the paper's ablations: ca-seg ablate --config-file FILE (--help for more)")
    commands.add_parser("two-class", help="the paper's protocol, one object against background words (--help for more)")
    commands.add_parser("calibrate", help="fit confidence on pictures with masks: ca-seg calibrate (--help for more)")
    commands.add_parser("train", help="train a head: ca-seg train --config-file FILE (--help for more)")
    commands.add_parser("label", help="label whole datasets: ca-seg label --config-file FILE (--help for more)")
    return parser


def _review(args: argparse.Namespace) -> int:
    from ca_seg.cli.review import review

    return review(args)


def _compare(args: argparse.Namespace) -> int:
    from ca_seg.cli.compare import compare

    return compare(args)


def _segment(args: argparse.Namespace) -> int:
    from ca_seg.cli.segment import segment

    return segment(args)


def _zoo_list(args: argparse.Namespace) -> int:
    from rich.console import Console

    from ca_seg.zoo import print_zoo

    print_zoo(Console())
    return 0


def _zoo_show(args: argparse.Namespace) -> int:
    from rich.console import Console

    from ca_seg.zoo import print_card

    print_card(args.name, Console())
    return 0


def _zoo_plan(args: argparse.Namespace) -> int:
    from rich.console import Console

    from ca_seg.backbones.plan import plan
    from ca_seg.zoo import print_plan

    made = plan(args.name, precision=args.precision, last_layer=args.last_layer, resolution=args.resolution)
    print_plan(made, Console())
    return 0


def _zoo_page(args: argparse.Namespace) -> int:
    from ca_seg.written import written
    from ca_seg.zoo import model_zoo

    with written(args.out) as part:
        part.write_text(model_zoo(), encoding="utf-8")
    print(args.out)
    return 0


def _data_list(args: argparse.Namespace) -> int:
    from ca_seg.data.catalogue import DATASETS

    for entry in DATASETS.values():
        print(f"{entry.name:10} {entry.summary}\n{'':10} {entry.how_to_get}")
    return 0


def _data_path(args: argparse.Namespace) -> int:
    from ca_seg.data.catalogue import open_dataset

    print(open_dataset(args.name).root)
    return 0
