"""The entries of an ablation, read from shared recordings, against entries computed separately."""

from __future__ import annotations

import json

import pytest
import torch

from ca_seg import Vocabulary, load_backbone
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.cli.ablate import run
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.seeds import image_seed
from ca_seg.decision.argmax import predict_mask
from ca_seg.evaluation.ablation import AblationGrid, AblationScores, ablate_image, present_classes
from ca_seg.metrics.confusion import ConfusionMatrix, miou

COUNT = 3


@pytest.fixture(scope="module")
def ablation():
    dataset, backbone = open_dataset("scenes", None, "shifted").first(COUNT), load_backbone("mini")
    scores = AblationScores(dataset.class_list.names)
    grid = AblationGrid(timesteps=[0.3], noise_samples=[1, 2], resolutions=[64])
    assert all(ablate_image(backbone, dataset[i], grid, scores, seed=4) for i in range(COUNT))
    return dataset, backbone, scores.figures()


ENTRIES = [
    ("space", "value, raw", {}, {}, {"space": "value", "softmax": False}),
    ("layer, output", "1", {}, {}, {"layers": [1]}),
    ("timestep", "0.3", {"timesteps": 0.3}, {}, {}),
    ("samples", "2", {"noise_samples": 2}, {}, {}),
    ("resolution", "64", {}, {}, {}),
    ("concept attention", "cross", {}, {"concept_attention": "cross"}, {}),
    ("normalisation", "token, heads apart", {}, {}, {"normalise": "token", "per_head": True}),
]


@pytest.mark.parametrize(("table", "entry", "recorded", "asked", "read"), ENTRIES, ids=[c[0] for c in ENTRIES])
def test_an_entry_equals_a_separate_run(ablation, table, entry, recorded, asked, read):
    dataset, backbone, figures = ablation
    words, matrix = Vocabulary.from_names(dataset.class_list.names), ConfusionMatrix(len(dataset.class_list))
    with torch.no_grad():
        for sample in (dataset[i] for i in range(COUNT)):
            resized = load_backbone("mini", resolution=64) if table == "resolution" else backbone
            recording = resized.record(sample["image"], seed=image_seed(4, sample["image_id"]), **recorded)
            if table == "layer, output":
                recording = backbone.record(sample["image"], seed=image_seed(4, sample["image_id"]), layers=range(6))
            maps = recording.ask(words, **asked).maps(**{"layers": backbone.card.layers} | read)
            matrix.update(predict_mask(maps, *sample["mask"].shape).mask[0], sample["mask"])
    assert figures[table][entry]["full_miou"] == pytest.approx(float(miou(matrix.compute())), abs=2e-3)


READOUTS = [
    ("reader", "concepts, blur", {"blur": True}),
    ("reader", "gramcol, layer 1", {"reader": "gramcol", "layers": (1,)}),
    ("reader", "seg4diff, layer 4", {"reader": "seg4diff", "layers": (4,), "prompt": "all"}),
    ("prompt", "all", {"prompt": "all"}),
    ("template", "a photo of a {}", {"templates": ("a photo of a {}",)}),
    ("template", "mean of all", {"templates": ("{}", "a photo of a {}")}),
    ("prompt", "present (oracle)", {"prompt": "present"}),
]


@pytest.mark.parametrize(("table", "entry", "options"), READOUTS, ids=[c[1] for c in READOUTS])
def test_an_entry_equals_its_readout(ablation, table, entry, options):
    dataset, backbone, figures = ablation
    words, matrix = Vocabulary.from_names(dataset.class_list.names), ConfusionMatrix(len(dataset.class_list))
    config = ReadoutConfig(**options)
    for sample in (dataset[i] for i in range(COUNT)):
        present = [dataset.class_list.names[i] for i in present_classes(sample["mask"]).tolist()]
        image, seed = sample["image"][None], image_seed(4, sample["image_id"])
        maps = config.record(backbone, image, [seed], vocabulary=words, present=[present]).maps(words)
        matrix.update(predict_mask(maps, *sample["mask"].shape).mask[0], sample["mask"])
    assert figures[table][entry]["full_miou"] == pytest.approx(float(miou(matrix.compute())), abs=2e-3)


def test_the_command_writes_tables_plots_and_a_page(tmp_path):
    out = tmp_path / "out"
    config = ["--config-file", "configs/ablation/mini_scenes.yaml", "--data.limit", "1", "--out", str(out)]
    assert run([*config, "--grid.timesteps", "[0.1, 0.5]", "--grid.noise_samples", "[1, 2]"]) == 0
    tables = json.loads((out / "ablation.json").read_text())["tables"]
    assert set(tables["timestep"]) == {"0.1", "0.5"}
    assert set(tables["layer, output"]) == {*map(str, range(6)), "all"}
    assert {p.name for p in out.glob("*.png")} >= {"timestep.png", "layer_output.png", "samples.png"}
    assert "concept attention" in (out / "index.html").read_text()
