"""Every command and every Python block of README.md and docs/ runs as it stands, on few images.

The pages use these names for what a user has:

    PHOTO.jpg, scene.png      images                    VIDEO.mp4     a video
    IMAGES                    a folder of images        words.yaml    a vocabulary
    DIR, SAMPLE               images, masks, classes    WORDS.yaml    the classes of SAMPLE
    images                    in Python, a batch
"""

from __future__ import annotations

import json
import re
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from tests.docs.blocks import PAGES, ROOT, Block, blocks, commands, is_ours, run
from tests.test_imports import LAYERS

OTHER = {"pip", "make", "pre-commit", "npm", "hf"}  # commands that install or check; not executed, and no reason needed


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    """The files that the pages name."""
    from ca_seg.visual.video import write_overlay_video

    folder = tmp_path_factory.mktemp("templates")
    scenes = ROOT / "datasets" / "scenes"
    names = [f"scene_{number:04d}" for number in range(4)]
    for name, part in (("IMAGES", ("images",)), ("DIR", ("images", "masks")), ("SAMPLE", ("images", "masks"))):
        for kind in part:
            (folder / name / kind if len(part) > 1 else folder / name).mkdir(parents=True, exist_ok=True)
            for image in names:
                target = folder / name / kind if len(part) > 1 else folder / name
                shutil.copy(scenes / kind / f"{image}.png", target / f"{image}.png")
        if len(part) > 1:
            shutil.copy(scenes / "classes.json", folder / name / "classes.json")
    shutil.copy(scenes / "images" / "scene_0000.png", folder / "scene.png")
    picture = Image.open(folder / "scene.png").convert("RGB")
    cat = Image.open(scenes / "images" / "scene_0038.png").convert("RGB")  # the pages ask for one, and edit it
    cat.resize((192, 128)).save(folder / "PHOTO.jpg")
    shutil.copy(folder / "PHOTO.jpg", folder / "photo.jpg")
    frames = [np.asarray(picture)] * 2
    masks = [np.zeros(frames[0].shape[:2], np.uint8)] * 2
    write_overlay_video(folder / "VIDEO.mp4", iter(frames), iter(masks), range(1), 24.0)
    for name in ("DIR", "SAMPLE"):
        (folder / name / "splits.json").write_text(json.dumps({"train": names[:3], "val": names[3:]}), encoding="utf-8")
    words = "classes:\n  - cat\n  - name: grass\n    synonyms: [lawn, meadow]\n  - sky\nbackground: sky\n"
    (folder / "words.yaml").write_text(words, encoding="utf-8")
    classes = json.loads((scenes / "classes.json").read_text(encoding="utf-8"))["classes"]
    (folder / "WORDS.yaml").write_text(json.dumps({"classes": list(classes.values())}), encoding="utf-8")
    return folder


@pytest.fixture
def workplace(templates, tmp_path, monkeypatch):
    """A folder with what the pages name, and with nothing of the project in it but its shipped files."""
    shutil.copytree(templates, tmp_path / "work")
    for name in ("configs", "datasets", "checkpoints"):
        (tmp_path / "work" / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("CA_SEG_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    return tmp_path / "work"


def test_what_is_not_executed_says_why():
    without = [f"{page.name}:{block.line}" for page in PAGES for block in blocks(page) if block.reason == "MISSING"]
    assert not without
    skipped = sum(not block.executed for page in PAGES for block in blocks(page))
    assert skipped <= 30, "so many blocks that nobody checks"


def test_every_command_is_executed_or_says_why():
    unknown = [
        f"{page.name}:{block.line}: {words[0]}"
        for page in PAGES
        for block in blocks(page)
        if block.executed and block.language == "bash"
        for words in commands(block)
        if not is_ours(words) and words[0].rpartition("/")[2] not in OTHER | {"run"}
    ]
    assert not unknown


EXECUTED = [page for page in PAGES if any(block.executed for block in blocks(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", EXECUTED, ids=lambda page: page.stem)
def test_the_page_runs(page, workplace, capfd):
    if page.stem == "detectron2":
        pytest.importorskip("detectron2", reason="detectron2 is not installed: docs/detectron2.md says how")
    if page.stem == "fiftyone":
        pytest.importorskip("fiftyone", reason="FiftyOne is not installed: pip install 'ca-seg[fiftyone]'")
    if page.stem in ("heads", "smp"):
        pytest.importorskip("segmentation_models_pytorch", reason="SMP is not installed: pip install 'ca-seg[smp]'")
    if page.stem == "viewer":
        pytest.importorskip("gradio", reason="gradio is not installed: pip install 'ca-seg[view]'")
    namespace: dict = {"images": torch.rand(2, 3, 128, 128)}
    for block in blocks(page):
        if not block.executed:
            continue
        if block.language == "python":
            exec(compile(block.code, f"{page.name}:{block.line}", "exec"), namespace)
        else:
            _run_commands(page.name, block)
    if page.stem == "smp":
        _check_smp(workplace, namespace)


def _run_commands(page: str, block: Block) -> None:
    for words in commands(block):
        if is_ours(words):
            try:
                status = run(words)
            except SystemExit as stop:  # --help and --print_config
                status = stop.code or 0
            assert status == 0, f"{page}:{block.line}: {' '.join(words)}"


def _check_smp(workplace, names) -> None:
    """What docs/smp.md says about its own results."""
    sys.modules["segmentation_models_pytorch"].encoders.encoders.pop("pets")
    assert names["loss"].isfinite()
    assert names["masks"].shape == names["batch"]["mask"].shape
    assert 9e6 < (workplace / "unet-on-mini" / "model.safetensors").stat().st_size < 11e6
    assert names["model"](torch.rand(2, 3, 192, 256)).shape == (2, 2, 192, 256)
    assert names["head"](names["features"], (128, 128)).shape == (len(names["features"]), 4, 128, 128)


def test_contributing_lists_the_layers_in_their_order():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    lines = re.search(r"```\n(errors, .*?)```", page, re.DOTALL)[1].splitlines()
    listed = [name for line in lines if line[0] != " " for name in re.split(r" {2,}", line)[0].split(", ")]
    rank = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    assert sorted(listed) == sorted(rank)
    assert [rank[name] for name in listed] == sorted(rank[name] for name in listed)


def test_the_citation_and_the_changelog_are_of_this_version():
    from ca_seg import __version__

    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    date = re.search(r"^date-released: (\S+)$", citation, re.MULTILINE)[1]
    assert f"\nversion: {__version__}\n" in citation
    assert f"\n## {__version__} ({date})\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_changelog_lists_every_renamed_option():
    from ca_seg.cli.former import FORMER, FORMER_VALUES

    page = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    missing = [name for name in FORMER if f"`{name}`" not in page]
    missing += [name for _, name in FORMER_VALUES if name not in page]
    assert not missing, json.dumps(missing)
