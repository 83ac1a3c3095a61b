"""Readers of weights: trained heads, diffusers folders, GGUF, checkpoints of other projects."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import torch

from ca_seg.backbones.load import load_backbone
from ca_seg.backbones.loading import card as cards
from ca_seg.backbones.text.word_table import _load as load_words
from ca_seg.heads.registry import head_kinds
from ca_seg.heads.trained import TrainedHead, load_head
from ca_seg.methods.vit.ibot import read_ibot
from tests.fuzz.reader import Reader
from tests.tiny_pipelines import LENGTH, MAKERS

CHANNELS, MAPS = 5, 2


def write_head(folder: Path, *, kind: str) -> None:
    torch.manual_seed(0)
    head = TrainedHead(
        kind=kind, backbone="mini", classes=["cat", "grass"], phrases=[["cat", "kitten"], ["grass"]], channels=CHANNELS,
        maps=MAPS, stride=8, parts=["concepts", "maps"], readout={"layers": [1, 2]},
    )  # fmt: skip
    head.save_pretrained(folder)


@torch.no_grad()
def read_head(folder: Path) -> None:
    head = load_head(folder)
    spec = head.head.spec
    features = torch.rand(1, spec.channels, 3, 4)
    features[:, spec.channels - spec.maps :] = 1 / max(1, spec.maps)
    logits = head(features, (24, 32))
    assert logits.shape == (1, len(head.vocabulary.classes), 24, 32), logits.shape
    assert not logits.isnan().any(), "not a number among the logits"


def write_backbone(folder: Path) -> None:
    pipeline, _, _ = MAKERS["flux"]()
    pipeline.save_pretrained(folder)


@torch.no_grad()
def read_backbone(folder: Path) -> None:
    name = "flux1-schnell"
    small = replace(cards.find_card(name), text_tokens=LENGTH, layers=(0, 2))
    with (
        mock.patch("ca_seg.backbones.load.find_card", return_value=small),
        mock.patch.dict("os.environ", CA_SEG_CACHE="nothing"),
    ):
        backbone = load_backbone(name, weights=folder, resolution=48)
    assert backbone.layers == 3


def write_ibot(folder: Path) -> None:
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    state = VisionTransformer(img_size=16, patch_size=8, embed_dim=64, depth=1, num_heads=1, num_classes=0).state_dict()
    torch.save({"state_dict": state}, folder / "ibot.pth")


def write_words(folder: Path) -> None:
    import hashlib

    import yaml
    from safetensors.torch import save_file

    (folder / "words.txt").write_text("cat\ndog\n")
    save_file({"vectors": torch.rand(2, 4)}, folder / "words.safetensors")
    sums = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("words.txt", "words.safetensors")
    }
    (folder / "card.yaml").write_text(yaml.safe_dump({"checksums": sums}))


def read_words(folder: Path) -> None:
    table = load_words.__wrapped__(folder)
    assert table.vector("cat").isfinite().all()


READERS = [
    *(
        Reader(
            f"head-{kind}",
            partial(write_head, kind=kind),
            read_head,
            (".json", ".safetensors"),
            share=0.2 if kind == "smp" else 1.0,
        )
        for kind in head_kinds()
    ),
    Reader("backbone-folder", write_backbone, read_backbone, share=0.4),
    Reader("ibot", write_ibot, lambda folder: read_ibot(folder / "ibot.pth")),
    Reader("word-table", write_words, read_words),
]
