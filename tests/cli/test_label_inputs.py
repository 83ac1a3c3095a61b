"""`ca-seg label` with different kinds of images, names and datasets, and with bad arguments."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from tests.cli.labelling import image, manifest, run, summary, tree


def test_different_kinds_of_images(workdir):
    folder = workdir / "in"
    for path in folder.rglob("*.png"):
        path.unlink()
    plain = image(0, size=(40, 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    plain.save(folder / "turned.jpg", exif=exif)
    plain.convert("CMYK").save(folder / "cmyk.jpg")
    plain.convert("L").save(folder / "gray.png")
    Image.fromarray(np.asarray(plain.convert("L")).astype(np.uint16) * 257).save(folder / "deep.png")
    plain.save(folder / "moving.gif", save_all=True, append_images=[image(1, size=(40, 60))])
    Image.new("RGB", (1, 1), "red").save(folder / "one.png")
    Image.new("RGB", (2000, 20000), "blue").save(folder / "tall.png")
    Image.new("RGB", (40, 800)).save(folder / "stretched.png")
    (folder / "text.jpg").write_text("no image")
    (folder / "empty.png").write_bytes(b"")
    plain.save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:-300])
    plain.save(folder / "back\\slash.png")
    plain.save(os.fsencode(folder) + b"/bad\xff.png", format="PNG")
    assert run(workdir, formats="[png, coco, yolo]") == 1
    sizes = {key: (entry["height"], entry["width"]) for key, entry in manifest(workdir).items()}
    assert sizes == {
        "cmyk": (40, 60), "deep": (40, 60), "gray": (40, 60), "moving": (40, 60), "one": (1, 1), "tall": (20000, 2000),
        "turned": (60, 40),
    }  # fmt: skip
    for key, (height, width) in sizes.items():
        with Image.open(workdir / "out" / "png" / "masks" / f"{key}.png") as mask:
            assert mask.size == (width, height)
    reasons = {Path(s["image"]).name: s["reason"] for s in summary(workdir)["skipped"]}
    assert sorted(reasons) == ["back\\slash.png", "bad\\udcff.png", "cut.jpg", "empty.png", "stretched.png", "text.jpg"]
    assert "1 : 16" in reasons["stretched.png"]
    assert "text.jpg" in reasons["text.jpg"]


def test_images_whose_labels_cannot_be_files_are_skipped(workdir):
    """One name is too long; the label d.png of d.jpg would be a file where another label needs a folder."""
    image(0).save(workdir / "in" / ("n" * 245 + ".png"))
    (workdir / "in" / "d.png").rename(workdir / "in" / "d.jpg")
    (workdir / "in" / "d.png").mkdir()
    image(0).save(workdir / "in" / "d.png" / "y.png")
    assert run(workdir) == 1
    reasons = {Path(skip["image"]).name[:3]: skip["reason"] for skip in summary(workdir)["skipped"]}
    assert "240" in reasons.pop("nnn")
    assert len(reasons) == 1
    assert set(reasons) < {"d.j", "y.p"}
    assert len(manifest(workdir)) == 7


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({"vocabulary": "nowhere.yaml"}, "nowhere.yaml"),
        ({"formats": "[pgn]"}, "'png'"),
        ({"formats": "[]"}, "png, coco"),
        ({"formats": "[png, png]"}, "'png'"),
        ({"format_options": '{"yolo": {}}'}, "format_options"),
        ({"formats": "[coco]", "format_options": '{"coco": {"pre": "part"}}'}, "'per'"),
        ({"formats": "[coco]", "format_options": '{"coco": {"per": 3}}'}, "format_options.coco.per"),
        ({"formats": "[yolo]", "format_options": '{"yolo": {"exclude": ["dog"]}}'}, "'dog'"),
        ({"confidence": "margn"}, "'margin'"),
        ({"confidence": "agreement"}, "model.noise_samples=4"),
        ({"confidence": "none", "threshold": 0.3}, "confidence=margin"),
        ({"model.softmax": "false"}, "model.softmax=true"),
        ({"temperature": 0}, "temperature"),
        ({"threshold": 1.5}, "0 to 1.01"),
        ({"threshold": '{"dog": 0.2}'}, "'dog'"),
        ({"calibration": "nowhere.json"}, "nowhere.json"),
        ({"calibration": "nowhere.json", "temperature": 2}, "calibration"),
        ({"data.root": "nowhere"}, "nowhere"),
        ({"data.name": "image"}, "'images'"),
        ({"refine.steps": "[parm]"}, "'pamr'"),
        ({"writers": 0}, "0 "),
    ],
)
def test_a_bad_option_is_one_line(workdir, changes, value, capsys):
    assert run(workdir, **changes) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert value in error
    assert "\n" not in error
    assert not (workdir / "out" / "manifest.jsonl").exists()


def test_words_that_the_backbone_does_not_know_are_named_before_the_run(workdir, capsys):
    (workdir / "words.yaml").write_text("classes: [cat, zebr]\n")
    assert run(workdir) == 2
    assert "zebra" in capsys.readouterr().err
    assert run(workdir, vocabulary="null") == 2
    assert "'images'" in capsys.readouterr().err


def test_a_changed_vocabulary_is_named(workdir, capsys):
    assert run(workdir) == 0
    (workdir / "words.yaml").write_text("classes: [cat, grass, sky, {name: water, synonyms: [sand]}]\n")
    assert run(workdir) == 2
    assert re.search(r"vocabulary\.water\b.*\bwater\b.*\bwater, sand\b", capsys.readouterr().err)


def test_the_former_name_of_an_option_is_read(workdir, capsys):
    for out, option in (("former", "left_out"), ("present", "exclude")):
        assert run(workdir, out, formats="[yolo]", format_options=f'{{"yolo": {{"{option}": ["cat"]}}}}') == 0
    assert len(re.findall(r"yolo\.left_out.*exclude", capsys.readouterr().err)) == 1
    assert tree(workdir / "former") == tree(workdir / "present")
    assert (workdir / "former" / "run.json").read_text().count("left_out") == 0


def test_other_kinds_of_input(workdir):
    folder = workdir / "coco"
    for part in ("a", "b"):
        (folder / "images" / part).mkdir(parents=True)
        image(3).save(folder / "images" / part / "1.png")
    images = [{"id": i, "file_name": f"{p}/1.png", "height": 40, "width": 56} for i, p in enumerate("ab")]
    categories = [{"id": 7, "name": "sky"}, {"id": 3, "name": "cat"}]
    content = {"images": images, "categories": categories, "annotations": []}
    (folder / "annotations.json").write_text(json.dumps(content))
    kind = {"data.name": "coco-json", "data.root": folder, "vocabulary": "null"}
    assert run(workdir, "from-coco", **kind) == 0
    assert list(manifest(workdir, "from-coco")) == ["a/1", "b/1"]
    assert list(summary(workdir, "from-coco")["classes"]) == ["cat", "sky"]

    dicts = [{"file_name": f"images/{p}/1.png", "height": 40, "width": 56} for p in "ab"]
    (folder / "dataset.json").write_text(json.dumps(dicts))
    assert run(workdir, "from-dicts", **{"data.name": "sem-seg-dicts", "data.root": folder}) == 0
    assert list(manifest(workdir, "from-dicts")) == ["a/1", "b/1"]

    (workdir / "shards").mkdir()
    with webdataset.ShardWriter(str(workdir / "shards" / "%03d.tar"), maxcount=2, verbose=0) as sink:
        for number in range(3):
            sink.write({"__key__": f"p{number}", "png": np.asarray(image(number))})
    assert run(workdir, "from-shards", **{"data.name": "webdataset", "data.root": workdir / "shards"}) == 0
    assert list(manifest(workdir, "from-shards")) == ["000/p0", "000/p1", "001/p2"]
    assert (workdir / "from-shards" / "png" / "masks" / "001" / "p2.png").is_file()

    (workdir / "in" / "list.txt").write_text("e.png\na/1.png\n")
    assert run(workdir, "from-list", **{"data.root": workdir / "in" / "list.txt"}) == 0
    assert list(manifest(workdir, "from-list")) == ["a/1", "e"]
    assert run(workdir, "from-folder") == 0
    for key in ("a/1", "e"):
        from_list, from_folder = (
            workdir / out / "png" / "masks" / f"{key}.png" for out in ("from-list", "from-folder")
        )
        assert np.mean(np.asarray(Image.open(from_list)) == np.asarray(Image.open(from_folder))) > 0.999
