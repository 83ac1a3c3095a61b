"""Readers of weights: trained heads, diffusers folders, GGUF, checkpoints of other projects."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import torch

from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.load import load_backbone
from ca_seg.backbones.loading import card as cards
from ca_seg.backbones.loading.profiles import read_gguf
from ca_seg.backbones.text.word_table import _load as load_words
from ca_seg.heads.registry import head_kinds
from ca_seg.heads.trained import TrainedHead, load_head
from ca_seg.jobs.training_folder import read_checkpoint
from ca_seg.methods.vit.ibot import read_ibot
from tests.fuzz.reader import Reader
from tests.jobs.small_training import STEPS, train, two_classes
from tests.small_models import small_transformer
from tests.tiny_pipelines import LENGTH, MAKERS

CHANNELS, MAPS = 5, 2
QWEN = find_family("qwen-image")
QWEN_LAYERS = len(QWEN.attentions(small_transformer(QWEN)))


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


def write_gguf(folder: Path) -> None:
    import gguf

    (folder / "transformer").mkdir()
    model = small_transformer(QWEN)
    model.save_config(folder / "transformer")
    writer = gguf.GGUFWriter(str(folder / "model.gguf"), "qwen_image")
    for name, tensor in model.state_dict().items():
        data = tensor.float().numpy()
        blocks = data.ndim == 2 and data.shape[1] % 32 == 0
        kind = gguf.GGMLQuantizationType.Q8_0 if blocks else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_gguf_file(folder: Path) -> None:
    model = read_gguf(QWEN, folder / "model.gguf", folder, torch.float32)
    assert len(QWEN.attentions(model)) == QWEN_LAYERS


def write_training(folder: Path) -> None:
    """A training that was killed before its head was written."""
    two_classes(folder / "set")
    train(folder / "set", folder / "out", max_epochs=1)
    shutil.rmtree(folder / "out" / "head")
    (folder / "out" / "results.json").unlink()


def read_training(folder: Path) -> None:
    result = train(folder / "set", folder / "out", max_epochs=1, resume=True)
    assert 0 <= result.metrics["miou"] <= 1
    load_head(folder / "out" / "head")


def read_last_checkpoint(folder: Path) -> None:
    content = read_checkpoint(folder / "last.ckpt")
    assert content["global_step"] == STEPS
    assert set(content["state_dict"])


def write_last_checkpoint(folder: Path) -> None:
    write_training(folder)
    (folder / "out" / "last.ckpt").rename(folder / "last.ckpt")
    shutil.rmtree(folder / "out")
    shutil.rmtree(folder / "set")


READERS = [
    *([Reader("gguf", write_gguf, read_gguf_file, (".gguf",), share=0.4)] if find_spec("gguf") else []),
    Reader("checkpoint", write_last_checkpoint, read_last_checkpoint),
    Reader("resumed-training", write_training, read_training, ("last.ckpt",), writes=True, share=0.2),
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
