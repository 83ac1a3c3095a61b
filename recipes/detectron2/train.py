"""Train and score with detectron2: `python -m recipes.detectron2.train --config-file FILE [KEY VALUE ...]`.

The flags are those of detectron2's tools/train_net.py and five more, which choose a dataset of ca_seg's catalogue. Only
two calls are specific to ca_seg: `add_ca_seg_config` adds the config keys, and `register` registers the dataset.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import DefaultTrainer, default_argument_parser, default_setup, launch
from detectron2.evaluation import SemSegEvaluator, verify_results
from detectron2.utils.events import CommonMetricPrinter, EventWriter, JSONWriter

from ca_seg.adapters.detectron2 import add_ca_seg_config, register
from ca_seg.data.collate import Skipped
from ca_seg.errors import UserError
from ca_seg.features.frozen import WORDS


class Trainer(DefaultTrainer):
    """detectron2's default trainer with its evaluator, without TensorBoard, which then need not be installed."""

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> SemSegEvaluator:
        return SemSegEvaluator(dataset_name, output_dir=os.path.join(cfg.OUTPUT_DIR, "inference"))

    def build_writers(self) -> list[EventWriter]:
        return [CommonMetricPrinter(self.max_iter), JSONWriter(os.path.join(self.cfg.OUTPUT_DIR, "metrics.json"))]


def arguments() -> ArgumentParser:
    parser = default_argument_parser()
    parser.add_argument("--dataset", default="scenes", help="a name from `ca-seg data list`")
    parser.add_argument("--root", help="its folder, for datasets that do not ship")
    parser.add_argument("--train-split", default="train")
    parser.add_argument("--test-split", default="val")
    parser.add_argument("--cache", help="where masks go as class indices (default: OUTPUT_DIR/data)")
    return parser


def setup(options: Namespace) -> tuple[CfgNode, list[Skipped]]:
    """Register both splits. Returns the complete config and the images that were skipped."""
    cfg = get_cfg()
    add_ca_seg_config(cfg)
    cfg.merge_from_file(options.config_file)
    cfg.merge_from_list(options.opts)
    cache = Path(options.cache or os.path.join(cfg.OUTPUT_DIR, "data"))
    skipped = []
    for key, split in (("TRAIN", options.train_split), ("TEST", options.test_split)):
        name = f"{options.dataset}_{split}"
        classes, unreadable = register(name, options.dataset, options.root, split, cache=cache / name)
        cfg.DATASETS[key] = (name,)
        skipped += unreadable
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = len(classes)
    if set(WORDS) & set(cfg.MODEL.CA_SEG.PARTS) and not cfg.MODEL.CA_SEG.CONCEPTS:
        cfg.MODEL.CA_SEG.CONCEPTS = list(classes.names)
    cfg.freeze()
    default_setup(cfg, options)
    return cfg, skipped


def run(options: Namespace) -> dict[str, Any]:
    """The work of one process: train (unless `--eval-only`), evaluate, and check TEST.EXPECTED_RESULTS."""
    cfg, skipped = setup(options)
    if options.eval_only:
        model = Trainer.build_model(cfg)
        DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR).resume_or_load(cfg.MODEL.WEIGHTS, resume=options.resume)
        results = Trainer.test(cfg, model)
        verify_results(cfg, results)
    else:
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=options.resume)
        results = trainer.train()
    for path, reason in skipped:
        print(f"skipped: {path}: {reason}", file=sys.stderr)
    if skipped:
        sys.exit(1)
    return results


def main() -> int:
    options = arguments().parse_args()
    if not Path(options.config_file).is_file():
        raise UserError(f"no config file {options.config_file!r}", fix="try recipes/detectron2/mini_scenes.yaml")
    launch(
        run,
        options.num_gpus,
        num_machines=options.num_machines,
        machine_rank=options.machine_rank,
        dist_url=options.dist_url,
        args=(options,),
    )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
