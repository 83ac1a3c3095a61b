"""The probe: only the head learns, and only the head is kept."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch

from ca_seg import load_backbone
from ca_seg.data.datamodule import SegmentationData
from ca_seg.errors import CorruptWeights, WeightsUnavailable
from ca_seg.heads.linear import LinearHead
from ca_seg.tasks.linear_probe import LinearProbe


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    data = SegmentationData("scenes", None, "val", "train", "val", batch_size=4, limit=8)
    backbone = load_backbone("mini")
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    probe = LinearProbe(backbone, data.class_list.names, lr=0.01)
    first = probe.head.layers[2].weight.detach().clone()
    trainer = pl.Trainer(accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False,
                         enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    trainer.fit(probe, data)
    return probe, before, first, trainer


def test_the_backbone_is_untouched_and_in_eval_mode(trained):
    probe, before, _, _ = trained
    probe.train()
    assert not probe.backbone.training
    assert not any(module.training for module in probe.backbone.modules())
    assert not any(parameter.requires_grad for parameter in probe.backbone.parameters())
    for name, tensor in probe.backbone.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_only_the_head_has_parameters_and_is_in_the_checkpoint(trained):
    probe, _, first, trainer = trained
    assert {name.split(".")[0] for name in probe.state_dict()} == {"head"}
    assert all(name.startswith("head.") for name, _ in probe.named_parameters())
    assert not torch.equal(probe.head.layers[2].weight, first)
    assert 0 <= float(trainer.callback_metrics["val/miou"]) <= 1


def test_an_all_void_batch_is_passed_over(trained):
    probe = trained[0]
    batch = {"image": torch.rand(1, 3, 128, 128), "mask": torch.full((1, 128, 128), 255), "stem": ["x"], "skipped": []}
    assert probe.training_step(batch, 0) is None


def test_a_head_is_saved_alone_and_only_fits_its_backbone(trained, tmp_path):
    probe = trained[0]
    probe.head.save(tmp_path, backbone="mini", class_names=probe.vocabulary.classes)
    again = LinearHead.load(tmp_path, backbone="mini")
    features = torch.rand(1, again.channels, 4, 4)
    torch.testing.assert_close(again(features), probe.head.eval()(features))
    with pytest.raises(CorruptWeights, match=r"'mini', not on 'mini-plain'"):
        LinearHead.load(tmp_path, backbone="mini-plain")
    (tmp_path / "head.safetensors").write_bytes(b"12345678")
    with pytest.raises(CorruptWeights, match=r"head\.safetensors"):
        LinearHead.load(tmp_path, backbone="mini")
    with pytest.raises(WeightsUnavailable, match=r"head\.json"):
        LinearHead.load(tmp_path / "nowhere", backbone="mini")
