"""What is given to jobs: things that cannot be used end them in one line, before anything is loaded or computed."""

from __future__ import annotations

import inspect

import pytest

import ca_seg
from ca_seg.errors import UserError
from ca_seg.jobs.arguments import check_file, check_folder

SCENE = "datasets/scenes/images/scene_0000.png"
FUNCTIONS = [name for name in ca_seg.__all__ if inspect.isfunction(getattr(ca_seg, name))]
JOBS = ["evaluate", "train_head", "ablate", "two_class", "calibrate"]


def test_all_names_can_be_imported():
    assert [name for name in ca_seg.__all__ if not hasattr(ca_seg, name)] == []
    assert len(ca_seg.__all__) == len(set(ca_seg.__all__))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_function_is_documented(name: str):
    function = getattr(ca_seg, name)
    sections = ["Example:"]
    if inspect.signature(function).parameters and not name.startswith("list_"):
        sections += ["Args:", "Returns:", "Raises:"]
    assert [section for section in sections if section not in function.__doc__] == []
    hints = inspect.signature(function)
    assert all(parameter.annotation is not inspect.Parameter.empty for parameter in hints.parameters.values())


@pytest.mark.parametrize("name", JOBS)
def test_arguments_of_other_types(name: str):
    job = getattr(ca_seg, name)
    for arguments in ({"data": 5}, {"backbone": 5}, {"settings": "val"}, {"backbone": "nowhere", "data": "scenes"}):
        if name == "train_head":
            arguments = {"train_split": "train", "val_split": "val", **arguments}
        with pytest.raises(UserError) as caught:
            job(**arguments)
        assert any(str(value) in str(caught.value) for value in (5, "val", "nowhere"))


@pytest.mark.parametrize("name", JOBS)
def test_an_out_that_is_a_file_ends_a_job_before_it_computes(name: str, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    for module in ("ca_seg.predictors.settings", "ca_seg.tasks.head_settings"):
        monkeypatch.setattr(f"{module}.load_backbone", None)  # it would raise TypeError
    splits = {"train_split": "train", "val_split": "val"} if name == "train_head" else {}
    with pytest.raises(UserError, match="file"):
        getattr(ca_seg, name)("mini", "scenes", out=tmp_path / "file" / "out", **splits)
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("seed", [-7, 2**32])
def test_a_seed_outside_its_range(seed: int, tmp_path):
    for job, settings in (
        (ca_seg.evaluate, ca_seg.EvaluationSettings(seed=seed)),
        (ca_seg.label, ca_seg.LabelSettings(seed=seed, out=str(tmp_path))),
    ):
        images = (
            {"data": "scenes"} if job is ca_seg.evaluate else {"images": "datasets/scenes/images", "classes": "cat"}
        )
        with pytest.raises(UserError, match=str(seed)):
            job(settings=settings, **images)


def test_every_job_uses_the_backbone_for_photographs_where_none_is_named():
    names = [name for name in ca_seg.__all__ if name.endswith("Settings")]
    jobs = {name: getattr(ca_seg, name)() for name in names}
    backbones = {name: getattr(getattr(job, "model", job), "backbone", None) for name, job in jobs.items()}
    assert {"EvaluationSettings", "TrainingSettings", "SegmentSettings", "LabelSettings"} <= backbones.keys()
    assert {backbone for backbone in backbones.values() if backbone is not None} == {"photo"}


def test_other_settings_of_data_and_backbone_are_taken():
    data = ca_seg.DataSettings(limit=1)
    results = ca_seg.evaluate(ca_seg.BackboneSettings("mini"), data)
    assert sum(results.content["dataset"]["images"].values()) == 1
    assert results.metrics["oracle-presence"]["miou"] > 0


def test_a_head_is_read_on_its_own_backbone_where_none_is_named(tmp_path):
    data = ca_seg.EvaluationData(limit=1)
    named = ca_seg.evaluate(data=data, head="mini-scenes-linear")
    loaded = ca_seg.evaluate(data=data, head=ca_seg.load_head("mini-scenes-linear"))
    assert named.content["method"] == "mini + linear"
    assert loaded.metrics == named.metrics == ca_seg.evaluate("mini", data, head="mini-scenes-linear").metrics
    settings = ca_seg.LabelSettings(ca_seg.MethodSettings(head="mini-scenes-linear"))
    labels = ca_seg.label(ca_seg.DataSettings(limit=1), ["cat", "dog"], settings, out=tmp_path / "labels")
    assert labels.labelled == 1
    for head in ("mini-scenes-linear", ca_seg.load_head("mini-scenes-linear")):
        with pytest.raises(UserError, match=r"'mini'.*'photo'"):
            ca_seg.evaluate("photo", data, head=head)


@pytest.mark.parametrize("name", [*JOBS, "label"])
def test_a_preset_is_looked_up_where_no_backbone_is_named(name: str, tmp_path):
    kinds = {
        "evaluate": (ca_seg.EvaluationSettings, ca_seg.MethodSettings),
        "train_head": (ca_seg.TrainingSettings, ca_seg.HeadSettings),
        "ablate": (ca_seg.AblationSettings, ca_seg.BackboneSettings),
        "two_class": (ca_seg.TwoClassSettings, ca_seg.BackboneSettings),
        "calibrate": (ca_seg.CalibrationSettings, ca_seg.BackboneSettings),
        "label": (ca_seg.LabelSettings, ca_seg.MethodSettings),
    }
    settings, model = kinds[name]
    given = {"settings": settings(model=model(preset="paper")), "out": tmp_path / "out"}
    given |= {"train_head": {"train_split": "train", "val_split": "val"}, "label": {"classes": ["cat"]}}.get(name, {})
    with pytest.raises(UserError, match=r"'paper' of photo"):  # nobody published settings of photo
        getattr(ca_seg, name)(**given)


def test_a_method_is_not_compared_with_itself():
    settings = ca_seg.EvaluationSettings(data=ca_seg.EvaluationData(limit=1), compare=["photo"], report=False)
    with pytest.raises(UserError, match="photo"):
        ca_seg.evaluate(settings=settings)


@pytest.mark.parametrize("words", [None, 5, [], "", "cat,grass", ["cat", 5], {"cat": 5}, {5: "cat"}, ["cat", "Cat"]])
def test_words_that_are_none(words, tmp_path):
    for job in (
        lambda: ca_seg.segment(SCENE, words),
        lambda: ca_seg.video("datasets/scenes/images", words, out=tmp_path),
        lambda: ca_seg.generate("mini", "a cat", words),
    ):
        with pytest.raises(UserError):
            job()


@pytest.mark.parametrize(
    "call",
    [
        lambda: ca_seg.load_backbone(None),
        lambda: ca_seg.load_backbone("mini", device=None),
        lambda: ca_seg.load_backbone("mini", resolution="x"),
        lambda: ca_seg.load_head(None),
        lambda: ca_seg.generate(None, "a cat", "cat"),
        lambda: ca_seg.generate("mini", 5, "cat"),
        lambda: ca_seg.generate("mini", "a cat", "cat", steps=0),
        lambda: ca_seg.generate("mini", "a cat", "cat", height=-5),
        lambda: ca_seg.segment(None, ["cat"]),
        lambda: ca_seg.segment(SCENE, "cat", threshold="x"),
        lambda: ca_seg.segment(SCENE, "cat", backbone=5),
        lambda: ca_seg.segment(SCENE, "cat", background=["cat"]),
        lambda: ca_seg.label("nowhere", ["cat"]),
        lambda: ca_seg.label(5, ["cat"]),
        lambda: ca_seg.video(None, ["cat"]),
        lambda: ca_seg.compare(5, 6),
        lambda: ca_seg.review(None),
        lambda: ca_seg.train_head(head="linaer"),
        lambda: ca_seg.train_head("mini", "scenes", head=5),
        lambda: ca_seg.evaluate("mini", "scenes", device="cpu:1"),
        lambda: ca_seg.two_class("mini", "scenes", ca_seg.TwoClassSettings(size=0)),
        lambda: ca_seg.train_head(ca_seg.HeadSettings(lr=-1), "scenes"),
    ],
)
def test_calls_that_cannot_succeed(call):
    with pytest.raises(UserError):
        call()


def test_a_head_without_an_owner_is_not_looked_for_on_the_hub(monkeypatch):
    monkeypatch.setattr(ca_seg.TrainedHead, "from_pretrained", None)  # it would raise TypeError
    with pytest.raises(UserError, match="mini-scenes-linear"):
        ca_seg.load_head("nowhere")


def test_folders_and_files_that_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (None, tmp_path, tmp_path / "new" / "newer", "relative/and/new"):
        check_folder(folder)
    check_file(tmp_path / "new" / "file.json")
    for check, path in ((check_folder, "file"), (check_folder, "file/new"), (check_file, ""), (check_file, "file/x")):
        with pytest.raises(UserError, match=str(tmp_path)):
            check(tmp_path / path)


def test_one_format_or_several(tmp_path):
    result = ca_seg.segment(SCENE, ["cat", "grass"])
    assert result.save(tmp_path, "mask") == result.save(tmp_path, ["mask"])


def test_results_as_tables(tmp_path):
    pytest.importorskip("pandas")
    data = ca_seg.EvaluationData(limit=2)
    for name, backbone in (("a", "mini"), ("b", "mini-plain")):
        ca_seg.evaluate(backbone, data, out=tmp_path / name)
    comparison = ca_seg.compare(tmp_path / "a", tmp_path / "b" / "results.json")
    table = comparison.to_pandas()
    assert len(table) == len(comparison.rows) == 2
    assert list(table["difference"]) == [row.difference for row in comparison.rows]
