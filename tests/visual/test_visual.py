"""Overlays, heat maps, masks and the page, read back by other tools."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from ca_seg.atomic import atomic_write
from ca_seg.errors import UserError
from ca_seg.visual.heatmaps import heatmap_strip, value_range
from ca_seg.visual.mask_png import write_mask
from ca_seg.visual.overlay import overlay
from ca_seg.visual.page import text_columns, write_page
from ca_seg.visual.palette import colour, png_palette
from ca_seg.visual.report import GalleryItem, PageReport, ReportTable

CHROMIUM = shutil.which("chromium")


def test_colours_differ_and_the_first_are_far_apart():
    colours = np.array([colour(i) for i in range(200)])
    assert len({tuple(c) for c in colours.tolist()}) == 200
    first = colours[:12].astype(float)
    distances = np.abs(first[:, None] - first[None]).sum(-1) + 999 * np.eye(12)
    assert distances.min() > 80


@pytest.mark.parametrize(("count", "min_distance"), [(50, 15), (166, 12), (254, 8)])
def test_no_two_colours_look_alike(count, min_distance):
    """Distance in L*a*b*, as Pillow's colour management computes it."""
    strip = Image.fromarray(np.array([[colour(i) for i in range(count)]], np.uint8))
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    raw = np.asarray(ImageCms.applyTransform(strip, to_lab))[0]
    lab = np.stack([raw[:, 0] * (100 / 255), raw[:, 1].view(np.int8), raw[:, 2].view(np.int8)], 1).astype(float)
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 999 * np.eye(count)
    assert distances.min() > min_distance


def test_a_mask_reads_back_as_ids_with_a_palette(tmp_path):
    mask = np.array([[0, 1], [2, 1]])
    write_mask(tmp_path / "m.png", mask, lambda indices: (indices * 7 + 1).astype(np.uint8))
    image = Image.open(tmp_path / "m.png")
    assert image.mode == "P"
    assert (np.asarray(image) == mask * 7 + 1).all()
    assert image.convert("RGB").getpixel((0, 0)) == colour(0)
    write_mask(tmp_path / "wide.png", mask, lambda indices: (indices + 300).astype(np.uint16))
    assert (np.asarray(Image.open(tmp_path / "wide.png")) == mask + 300).all()
    assert len(png_palette()) == 768


def test_a_failed_write_raises_and_keeps_the_old_file(tmp_path):
    target = tmp_path / "file" / "m.png"
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.raises(UserError, match=r"m\.png"):
        write_mask(target, np.zeros((2, 2), int), lambda i: i.astype(np.uint8))
    old_file = tmp_path / "kept.txt"
    old_file.write_text("old")
    with pytest.raises(UserError, match=re.escape(str(old_file))):
        _half_written(old_file)
    assert old_file.read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"file", "kept.txt"}


def _half_written(path):
    with atomic_write(path) as part:
        part.write_text("half")
        raise OSError(28, "No space left on device")


def test_an_overlay_is_coloured_where_the_class_is():
    image = np.full((64, 96, 3), 128, np.uint8)
    mask = np.full((64, 96), 255)
    mask[:, 48:] = 1
    shown = np.asarray(overlay(image, mask, ["cat", "grass"], legend=False)).astype(int)
    assert max(shown.shape[:2]) >= 384
    middle = shown.shape[0] // 2
    assert (shown[middle, shown.shape[1] // 4] == 128).all()
    expected = 0.45 * 128 + 0.55 * np.array(colour(1))
    assert np.abs(shown[middle, 3 * shown.shape[1] // 4] - expected).max() <= 1
    with_legend = overlay(image, mask, ["cat", "grass"])
    assert with_legend.width > shown.shape[1]


def test_an_asked_class_without_pixels_is_in_the_legend(monkeypatch):
    rows = []
    monkeypatch.setattr("ca_seg.visual.overlay.with_legend", lambda image, legend: rows.extend(legend) or image)
    mask = np.zeros((40, 60), int)
    mask[0, 0] = 2
    overlay(np.zeros((40, 60, 3), np.uint8), mask, ["cat", "sofa", "bus", "sky"], asked=[0, 1, 2])
    assert [(name, fraction) for _, name, fraction in rows] == [("cat", "100 %"), ("bus", "< 1 %"), ("sofa", "0 %")]


@pytest.mark.parametrize("size", [(1, 1), (30, 400), (2000, 2500)])
def test_overlays_of_any_size_and_many_classes(size):
    mask = np.arange(size[0] * size[1]).reshape(size) % 40
    shown = overlay(np.zeros((*size, 3), np.uint8), mask, [f"class {i}" for i in range(40)])
    assert shown.height <= 1600


def test_the_legend_of_a_low_image_shows_every_class():
    mask = np.repeat(np.arange(5), 80)[None].repeat(30, axis=0)
    shown = np.asarray(overlay(np.zeros((30, 400, 3), np.uint8), mask, [f"class {i}" for i in range(5)]))
    beside = {tuple(rgb) for rgb in shown[:, 400:].reshape(-1, 3).tolist()}
    assert {colour(i) for i in range(5)} <= beside


def test_a_very_long_name_does_not_push_the_image_aside():
    shown = overlay(np.zeros((400, 400, 3), np.uint8), np.zeros((400, 400), int), ["an endless name " * 50])
    assert 400 < shown.width < 900


def test_a_heat_map_is_bright_where_the_map_is_high():
    maps = np.zeros((2, 8, 8), np.float32)
    maps[1, 6, 6] = 1
    strip = heatmap_strip(np.zeros((64, 64, 3), np.uint8), maps, ["cat", "grass"])
    tile = np.asarray(strip.crop((8 + 2 * 232, 8, 8 + 2 * 232 + 224, 8 + 224))).astype(int).sum(-1)
    row, column = np.unravel_index(tile.argmax(), tile.shape)
    assert 150 < row < 224
    assert 150 < column < 224


def test_labels_stay_in_their_column_when_tiles_are_narrow():
    """The name of the middle column changes; nothing may change in its neighbours."""
    image, maps = np.zeros((400, 60, 3), np.uint8), np.zeros((2, 8, 8), np.float32)
    plain = np.asarray(heatmap_strip(image, maps, ["a\u00a0very\u00a0long\u00a0name" * 3, "x"]))
    renamed = np.asarray(heatmap_strip(image, maps, ["b\u00a0quite\u00a0other\u00a0one" * 3, "x"]))
    columns = np.flatnonzero((plain != renamed).any((0, 2)))
    pitch = (plain.shape[1] - 8) // 3
    assert pitch < columns.min()
    assert columns.max() < 8 + 2 * pitch


def test_many_concepts_wrap_to_rows():
    image = np.zeros((64, 64, 3), np.uint8)
    low = heatmap_strip(image, np.zeros((5, 8, 8), np.float32), list("abcde"))
    high = heatmap_strip(image, np.zeros((6, 8, 8), np.float32), list("abcdef"))
    assert high.width == low.width
    assert high.height > low.height + 224


def test_small_values_are_printed_in_scientific_notation():
    assert value_range(np.array([0, 0.88])) == "0.00 to 0.88"
    assert value_range(np.array([-3e-5, 9e-5])) == "-3.0e-05 to 9.0e-05"


@pytest.fixture
def page(tmp_path):
    table = ReportTable(
        "Classes <&>", ("class", "IoU"), (("<script>alert(1)</script>", "12.5"), ("b", "3")), sortable=True
    )
    shown = GalleryItem("a&b", (("ground_truth", Image.new("RGB", (40, 30), "red")),))
    write_page(tmp_path / "p.html", PageReport("Title", "Lead", (("seed", "0"),), (table,), (("best", (shown,)),)))
    return tmp_path / "p.html"


def test_the_page_escapes_and_is_self_contained(page):
    class Reader(HTMLParser):
        scripts, sources = 0, []

        def handle_starttag(self, tag, attributes):
            self.scripts += tag == "script"
            self.sources += [value for name, value in attributes if name in ("src", "href")]

    html = page.read_text()
    reader = Reader()
    reader.feed(html)
    assert reader.scripts == 1
    assert "&lt;script&gt;alert(1)" in html
    assert all(source.startswith("data:image/webp") for source in reader.sources)
    assert "http" not in html


def test_images_come_before_the_details(tmp_path):
    shown = GalleryItem("a", (("prediction", Image.new("RGB", (4, 3))),))
    tables = [ReportTable(title, ("class",), (("a",),)) for title in ("Scores", "Each class")]
    write_page(tmp_path / "p.html", PageReport("T", "L", (), (tables[0],), (("Best", (shown,)),), (tables[1],)))
    html = (tmp_path / "p.html").read_text()
    assert html.index("<h2>Scores") < html.index("<h2>Best") < html.index("<h2>Each class") < html.index("How it was")


def test_words_are_aligned_left_and_numbers_right():
    rows = (("a", "dog", "12 %", "-"), ("b", "3D glasses", "0 %", "not measured"))
    table = ReportTable("t", ("ground_truth", "predicted", "share", "mIoU"), rows)
    assert text_columns(table) == [True, True, False, False]


def _dom_after(page: Path, script: str, user: Path) -> str:
    """The page's DOM in Chromium after `script`, which may append to `window.values`."""
    end = f"<script>window.values = []; {script}; document.body.dataset.values = values.join('|')</script></body>"
    trial = page.with_name("trial.html")
    trial.write_text(page.read_text(encoding="utf-8").replace("</body>", end), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", "--disable-quic", f"--user-data-dir={user}"]
    command = [CHROMIUM, *flags, "--window-size=1280,1000", "--dump-dom", f"file://{trial}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on PATH")
def test_in_a_browser_the_page_escapes_sorts_and_keeps_images_in_shape(tmp_path):
    rows = (("<script>alert(1)</script>", "12.5"), ("b", "-"), ("c", "3.0"), ("d", "101.0"))
    table = ReportTable("Classes", ("class", "IoU"), rows, sortable=True)
    views = tuple((f"{w} x {h}", Image.new("RGB", (w, h), "red")) for w, h in ((520, 384), (200, 1500), (1590, 150)))
    protocols = [f"{protocol}: accuracy" for protocol in ("oracle-presence", "full-vocabulary") for _ in range(3)]
    wide = ReportTable(
        "Methods", ("method", "split", *protocols), (("random-weights", "in_distribution", *["1.0"] * 6),)
    )
    report = PageReport("Title", "Lead", (), (wide, table), (("best", (GalleryItem("one", views),)),))
    write_page(tmp_path / "p.html", report)
    script = """
        const values = window.values, heads = document.querySelectorAll("table[data-sortable] th button");
        const order = () => [...document.querySelectorAll("table[data-sortable] tbody td:last-child")]
            .map((cell) => cell.textContent).join(" ");
        heads[1].click(); values.push(order()); heads[1].click(); values.push(order());
        document.querySelectorAll("img").forEach((image) => values.push(
            (image.width / image.height / (image.getAttribute("width") / image.getAttribute("height"))).toFixed(2)));
        const box = document.querySelector(".wide"); values.push(box.scrollWidth <= box.clientWidth);
        values.push(document.documentElement.scrollWidth <= innerWidth);
        const hints = () => [...document.querySelectorAll(".more")].map((hint) => hint.hidden).join(" ");
        values.push(hints()); document.body.style.width = "500px"; sayWhatIsCut(); values.push(hints())"""
    dom = _dom_after(tmp_path / "p.html", script, tmp_path / "user")
    assert "<h1>Title</h1>" in dom
    assert "alert(1)&lt;/script&gt;" in dom
    values = re.search(r'data-values="([^"]*)"', dom).group(1).split("|")
    assert values[:2] == ["101.0 12.5 3.0 -", "3.0 12.5 101.0 -"]
    assert all(0.97 < float(shape) < 1.03 for shape in values[2:5])
    assert values[5:7] == ["true", "true"]
    assert values[7:] == ["true true", "false true"]  # a table that does not fit says that it can be scrolled
