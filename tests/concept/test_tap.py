"""What the tap refuses."""

from __future__ import annotations

import pytest
import torch
from diffusers import ModelMixin

from ca_seg import Vocabulary
from ca_seg.backbones.trace import GenerationTrace
from ca_seg.concept.known_words import KnownWords
from ca_seg.errors import UserError
from tests.small_flux import small_backbone


def test_a_transformer_split_over_devices_is_refused(monkeypatch):
    """diffusers' context and tensor parallelism: every device sees some heads, and would record them as if all."""
    assert hasattr(ModelMixin, "_parallel_config")  # what `enable_parallelism` sets
    backbone, image = small_backbone(), torch.rand(1, 3, 48, 80)
    recording = backbone.record(image, layers=[1])
    monkeypatch.setattr(backbone.transformer, "_parallel_config", object())
    with pytest.raises(UserError, match="enable_parallelism"):
        backbone.record(image, layers=[1])
    with pytest.raises(UserError, match="enable_parallelism"):
        backbone.record(image, layers=[1], known=KnownWords((Vocabulary.from_names(["cat"]),)))
    with pytest.raises(UserError, match="enable_parallelism"):
        recording.ask(["cat"])
    with pytest.raises(UserError, match="enable_parallelism"), GenerationTrace(backbone, ["cat"], layers=[1]):
        pass
