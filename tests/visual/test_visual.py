"""Overlays, heat maps, masks and the page, read back by other tools."""

from __future__ import annotations

import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from ca_seg.errors import UserError
from ca_seg.visual.heatmaps import heatmap_strip
from ca_seg.visual.mask_png import write_mask
from ca_seg.visual.overlay import overlay
from ca_seg.visual.page import write_page
from ca_seg.visual.palette import colour, palette_bytes
from ca_seg.visual.report import PageReport, ReportTable, Shown
from ca_seg.written import written

CHROMIUM = shutil.which("chromium")


def test_the_first_colours_are_apart_and_all_differ():
    colours = np.array([colour(i) for i in range(200)])
    assert len({tuple(c) for c in colours.tolist()}) == 200
    first = colours[:12].astype(float)
    apart = np.abs(first[:, None] - first[None]).sum(-1) + 999 * np.eye(12)
    assert apart.min() > 80


def test_a_mask_reads_back_as_ids_with_a_palette(tmp_path):
    mask = np.array([[0, 1], [2, 1]])
    write_mask(tmp_path / "m.png", mask, lambda indices: (indices * 7 + 1).astype(np.uint8))
    picture = Image.open(tmp_path / "m.png")
    assert picture.mode == "P"
    assert (np.asarray(picture) == mask * 7 + 1).all()
    assert picture.convert("RGB").getpixel((0, 0)) == colour(0)
    write_mask(tmp_path / "wide.png", mask, lambda indices: (indices + 300).astype(np.uint16))
    assert (np.asarray(Image.open(tmp_path / "wide.png")) == mask + 300).all()
    assert len(palette_bytes()) == 768


def test_what_cannot_be_written_is_said_and_what_stood_there_stays(tmp_path):
    target = tmp_path / "file" / "m.png"
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.raises(UserError, match=r"m\.png cannot be written"):
        write_mask(target, np.zeros((2, 2), int), lambda i: i.astype(np.uint8))
    kept = tmp_path / "kept.txt"
    kept.write_text("old")
    with pytest.raises(UserError, match="No space left"):
        _half_written(kept)
    assert kept.read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"file", "kept.txt"}


def _half_written(path):
    with written(path) as part:
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


@pytest.mark.parametrize("size", [(1, 1), (30, 400), (2000, 2500)])
def test_overlays_of_any_size_and_many_classes(size):
    mask = np.arange(size[0] * size[1]).reshape(size) % 40
    shown = overlay(np.zeros((*size, 3), np.uint8), mask, [f"class {i}" for i in range(40)])
    assert shown.height <= 1600


def test_a_heat_map_is_bright_where_the_map_is_high():
    maps = np.zeros((2, 8, 8), np.float32)
    maps[1, 6, 6] = 1
    strip = heatmap_strip(np.zeros((64, 64, 3), np.uint8), maps, ["cat", "grass"])
    tile = np.asarray(strip.crop((8 + 2 * 232, 8, 8 + 2 * 232 + 224, 8 + 224))).astype(int).sum(-1)
    row, column = np.unravel_index(tile.argmax(), tile.shape)
    assert 150 < row < 224
    assert 150 < column < 224


@pytest.fixture
def page(tmp_path):
    table = ReportTable(
        "Classes <&>", ("class", "IoU"), (("<script>alert(1)</script>", "12.5"), ("b", "3")), sortable=True
    )
    shown = Shown("a&b", (("truth", Image.new("RGB", (40, 30), "red")),))
    write_page(tmp_path / "p.html", PageReport("Title", "Lead", (("seed", "0"),), (table,), (("best", (shown,)),)))
    return tmp_path / "p.html"


def test_the_page_escapes_and_refers_to_nothing_outside(page):
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


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on PATH")
def test_the_page_opens_in_a_browser(page, tmp_path):
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", "--disable-quic", f"--user-data-dir={tmp_path / 'user'}"]
    done = subprocess.run(
        [CHROMIUM, *flags, "--dump-dom", f"file://{page}"], capture_output=True, text=True, timeout=60
    )
    assert "<h1>Title</h1>" in done.stdout
    assert "alert(1)&lt;/script&gt;" in done.stdout
