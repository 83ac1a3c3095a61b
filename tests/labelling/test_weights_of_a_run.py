"""Labels of other weights under the same path belong to another run."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ca_seg.jobs.plain import plain
from ca_seg.labelling.run import Labelling
from ca_seg.labelling.settings import LabelData, LabelSettings
from ca_seg.predictors.settings import MethodSettings


def test_labels_depend_on_the_content_of_a_folder_of_weights(tmp_path):
    for folder in ("in", "weights"):
        (tmp_path / folder).mkdir()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "in" / "a.png")
    file = tmp_path / "weights" / "model.safetensors"
    model = MethodSettings(backbone="mini", weights=str(file.parent))
    settings = LabelSettings(model, LabelData(root=str(tmp_path / "in")), out=str(tmp_path / "out"))

    def depends_on(content: bytes):
        file.write_bytes(content)
        return Labelling.of(settings, ["cat", "grass"]).depends_on(plain(settings))

    former = depends_on(b"1")
    assert depends_on(b"1") == former
    assert depends_on(b"2") != former
