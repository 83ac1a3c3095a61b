"""The jobs on photographs: parts of MSRC-21, choices without dev, students, and the tables of the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ca_seg.data.catalogue import open_dataset
from ca_seg.errors import UserError
from ca_seg.json_file import write_json
from ca_seg.vocabulary import IGNORE_INDEX
from recipes.page import fill
from recipes.photo_jobs import heads, page, student
from recipes.photo_jobs.choose import Choice
from recipes.photo_jobs.msrc import write_folder
from tests.function_predictor import FunctionPredictor
from tests.recipes.small_msrc import ByColour, write_small_msrc


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("msrc")
    write_folder(write_small_msrc(out / "release"), out / "data")
    return out / "data"


def ids(folder: Path, split: str) -> set[str]:
    return set(open_dataset("folder", str(folder), split).image_ids)


def test_choices_use_train_only_and_its_parts_do_not_overlap(folder):
    train, dev = ids(folder, "train"), ids(folder, "dev")
    assert (len(train), len(dev)) == (60, 5)
    assert not train & dev
    assert ids(folder, "fit") | ids(folder, "held") == train
    assert not ids(folder, "fit") & ids(folder, "held")
    assert len(ids(folder, "held")) == 12
    parts = [ids(folder, name) for name in ("few", "train-10-0", "train-10-1", "train-10-2")]
    assert all(len(part) == 10 and part <= train for part in parts)
    assert len(set(map(frozenset, parts))) == 4
    assert len(ids(folder, "train-50-2")) == 50


def test_horse_is_void(folder):
    dataset = open_dataset("folder", str(folder), "train")
    assert dataset.class_list.names == ("building", "grass", "sky")
    horse_and_sky = dataset[2]["mask"]  # the third image
    assert (horse_and_sky[:, :8] == IGNORE_INDEX).all()
    assert (horse_and_sky[1:, 8:] == 2).all()


def test_the_same_folder_can_be_written_again(folder):
    before = (folder / "splits.json").read_text()
    write_folder((folder / "images").resolve().parent, folder)
    assert (folder / "splits.json").read_text() == before


def test_a_train_that_is_too_small_is_refused(tmp_path):
    with pytest.raises(UserError, match="20"):
        write_folder(write_small_msrc(tmp_path / "release", train=20), tmp_path / "data")


class KnownRuns:
    """In place of training: the score of a run is known, and runs of one name have equal settings."""

    def __init__(self):
        self.models = {}

    def train(self, name, model, seed):
        assert self.models.setdefault(name, model) == model
        good = [model.parts == ["latents", "contrasts"], model.resolution == 384]
        good.append((model.options.get("decoder", model.kind), model.lr) in {("linear", 0.03), ("segformer", 0.003)})
        return {"miou": sum(good) / 10}


def test_each_choice_is_the_best_on_the_held_part(tmp_path):
    runs = KnownRuns()
    choice = Choice(runs, "mini")
    assert len(runs.models) == sum(map(len, choice.scores.values())) - 2  # two winners are candidates again
    write_json(tmp_path / "choice.json", choice.content())
    rows = heads.models(heads.read_choice(tmp_path))
    assert rows["linear"] == choice.linear
    assert rows["decoder"] == choice.decoder
    assert (rows["linear"].parts, rows["linear"].resolution, rows["linear"].lr) == (["latents", "contrasts"], 384, 0.03)
    assert (rows["decoder"].kind, rows["decoder"].options["decoder"], rows["decoder"].lr) == ("smp", "segformer", 0.003)
    assert rows["decoder"].parts == ["latents", "contrasts"]
    assert rows["random"].random_weights
    assert set(rows) == set(heads.ROWS)
    for model in rows.values():
        model.check()


def test_heads_need_a_choice(tmp_path):
    with pytest.raises(UserError, match="choice"):
        heads.read_choice(tmp_path)


def test_students_of_a_table_differ_only_in_their_labels(folder, tmp_path, monkeypatch):
    trained = []

    def record(data, *, epochs, seed, pretrained):
        trained.append((data.training_set(), data.validation_set().image_ids, data.crop, epochs, seed, pretrained))
        return None, {"miou": 0.5, "pixel_accuracy": 0.6}

    monkeypatch.setattr(student, "train_student", record)
    table = student.StudentTable("mini", folder, tmp_path, precision=0.95, limit=8)
    table.predictor = FunctionPredictor(lambda images, seeds: ByColour(images))
    for row in student.ROWS:
        assert table.student(row, 0, 3) == table.student(row, 0, 3) == {"miou": 0.5, "pixel_accuracy": 0.6}
    assert len(trained) == 3  # not computed twice
    datasets = [dataset for dataset, *_ in trained]
    assert len({(dataset.image_ids, *rest) for dataset, *rest in trained}) == 1
    assert all(dataset.class_list.names == datasets[0].class_list.names for dataset in datasets)
    words, _, masks = ([dataset[i]["mask"] for i in range(8)] for dataset in datasets)
    for label, mask in zip(words, masks, strict=True):
        assert set(label.unique().tolist()) <= set(mask.unique().tolist())
    probes = []
    monkeypatch.setattr(
        student.Runs, "train", lambda runs, *call: probes.append((runs.data, *call[1:])) or {"miou": 0.4}
    )
    assert table.probe("words", 0, 3) == table.probe("masks", 0, 3) == {"miou": 0.4}
    assert replace(probes[0][0], root=str(folder)) == probes[1][0]
    assert probes[0][1:] == probes[1][1:]
    fitted = table.calibration()
    assert fitted["images"] == 8
    assert set(fitted["accuracy_by_refinement"]) == {"none", "pamr", "balance+pamr"}
    assert fitted["figures"]["accuracy"] == max(fitted["accuracy_by_refinement"].values())


def results_of(methods: dict[str, float]) -> dict:
    """A results.json with one split, in which all figures of a method are the same."""

    def by_protocol(value, figures):
        return {"dev": {p: {name: value for name in figures} for p in ("oracle-presence", "full-vocabulary")}}

    return {
        "method": next(iter(methods)),
        "methods": {name: by_protocol(value, ("miou", "pixel_accuracy", "map")) for name, value in methods.items()},
        "intervals": {name: by_protocol([value - 0.02, value + 0.02], ("miou",)) for name, value in methods.items()},
    }


def test_the_page_shows_what_was_measured_and_says_what_was_not(tmp_path):
    msrc = tmp_path / "out" / "zero_shot" / "msrc"
    results = results_of({"photo": 0.7, "without refinement": 0.6, "one-class": 0.1})
    write_json(msrc / "main" / "results.json", results | {"config": {"refine": {"steps": ["pamr"]}}})
    for seed, miou in enumerate((0.71, 0.73)):
        write_json(
            tmp_path / "out" / "heads" / "linear-all" / str(seed) / "results.json",
            {"metrics": {"miou": miou, "pixel_accuracy": 0.9}},
        )
    for row, miou in (("words", 0.3), ("confident", 0.4), ("masks", 0.5)):
        write_json(
            tmp_path / "out" / "student" / f"{row}-0-30-epochs.json", {"miou": miou, "pixel_accuracy": miou + 0.2}
        )
    rows = {line.split(" | ")[0]: line for line in page.zero_shot_table(msrc, "photo").splitlines()}
    assert "60.0 (58.0 to 62.0)" in rows["| photo"]
    assert "70.0 (68.0 to 72.0)" in rows["| photo, refined by pamr"]
    assert page.MISSING in rows["| random maps"]
    assert "72.0 ± 1.4 | 90.0 ± 0.0" in page.heads_table(tmp_path / "out" / "heads")
    students = page.student_table(tmp_path / "out" / "student", msrc, 30)
    assert "60 %" in students
    assert "80 %" in students
    assert page.labels_table(tmp_path / "out" / "student") == page.MISSING


def test_every_table_has_its_place_on_the_page(tmp_path, monkeypatch):
    copy = tmp_path / "photographs.md"
    copy.write_text(page.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    arguments = ["page", "--out", str(tmp_path / "nothing"), "--page", str(copy)]
    monkeypatch.setattr("sys.argv", arguments)
    page.main()
    assert copy.read_text(encoding="utf-8").count("| bare teacher") == 2


def test_a_table_replaces_only_what_is_between_its_marks(tmp_path):
    file = tmp_path / "page.md"
    file.write_text("before\n<!-- a -->\nold\n\nold\n<!-- end -->\nafter\n<!-- b -->\nkept\n<!-- end -->\n")
    fill(file, "a", r"new \1")
    assert file.read_text() == "before\n<!-- a -->\nnew \\1\n<!-- end -->\nafter\n<!-- b -->\nkept\n<!-- end -->\n"
    with pytest.raises(UserError, match="'c'"):
        fill(file, "c", "new")


def test_the_labels_are_described(tmp_path):
    fitted = {
        "images": 10,
        "refine": ["pamr"],
        "temperature": 0.8,
        "threshold": 0.25,
        "figures": {"ece_before": 0.3, "ece_after": 0.02},
    }
    quality = {"images": 285, "ece": 0.03, "accuracy": 0.8, "miou": 0.6}
    quality |= {"kept_coverage": 0.7, "kept_precision": 0.91, "kept_miou": 0.65}
    write_json(tmp_path / "calibration.json", fitted)
    (tmp_path / "labels.json").write_text(json.dumps(quality))
    text = page.labels_table(tmp_path)
    assert "70.0, 91.0, 65.0" in text
    assert "pamr" in text
