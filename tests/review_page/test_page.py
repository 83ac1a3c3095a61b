"""The review page of a run of mini on the shipped scenes, read by an HTML parser and operated in a browser."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from ca_seg.cli.main import main
from ca_seg.labelling.manifest import Manifest
from ca_seg.labelling.run_reader import LabelRun
from ca_seg.review_page.thumbnail import MAX_SIDE, thumbnail
from tests.labelling.example_run import FINGERPRINT, add_label, example_run, write_about
from tests.labelling.random_labels import NAMES as CLASSES
from tests.labelling.random_labels import label_of, random_mask

CHROMIUM = shutil.which("chromium")
NAMES = {1: 'it\'s "<script>alert(1)<|script>" & co.png', 3: "Straße 道/ü #1 50%?.png"}
HINT = "willReadFrequently"  # Chromium's hint about a canvas that is read often, as these tests do
THRESHOLD = 0.05  # of the run, so that some pixels have no label


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return example_run(tmp_path_factory.mktemp("review"), 8, names=NAMES, threshold=THRESHOLD)


def command(*arguments: object) -> int:
    return main(["review", *map(str, arguments)])


class PageReader(HTMLParser):
    """Collects the links, sources, ids and accessible names of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.links: list[str] = []
        self.labels: list[str] = []
        self.ids: list[str] = []
        self.accessible_names: list[str] = []
        self.scripts = 0
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.scripts += tag == "script"
        self.sources += [values["src"]] if "src" in values else []
        self.links += [values["href"]] if "href" in values else []
        self.labels += [values["data-labels"]] if "data-labels" in values else []
        self.ids += [values["id"]] if "id" in values else []
        if tag in ("input", "select", "img", "canvas"):
            self.accessible_names += [values.get("aria-label") or values.get("alt") or values.get("id") or ""]


def test_the_page_is_one_file_with_links_to_the_files(run: Path, capsys) -> None:
    assert command(run) == 0
    assert re.search(r"\b8\b", capsys.readouterr().out)
    html, reader = (run / "review.html").read_text(encoding="utf-8"), PageReader(run / "review.html")
    assert reader.scripts == 2  # the data, and the script
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "Straße 道" in html
    assert "http" not in html
    assert all(source.startswith("data:image/webp;base64,") for source in reader.sources)
    assert len(reader.links) == 3 * 8
    assert all((run / unquote(link)).is_file() for link in reader.links)
    assert len(set(reader.ids)) == len(reader.ids)
    assert all(reader.accessible_names)
    content = json.loads((run / "statistics.json").read_text())
    assert content["images"] == 8
    assert content["skipped"] == [["broken <b>.jpg", "not an image"]]
    assert (run / "statistics.csv").read_text().startswith("class,images,pixels,fraction,mean_confidence\n")


def test_the_page_may_be_elsewhere_and_shows_count_images(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "a" / "b.html"
    assert command(run, "--count", 3, "--by", "class", "--sample", 2, "--out", page) == 0
    reader = PageReader(page)
    assert len(reader.links) == 9
    assert all((page.parent / unquote(link)).is_file() for link in reader.links)
    assert re.search(r"\b2 of the 8\b", page.read_text())


def test_a_thumbnail_has_label_and_confidence_of_each_pixel(run: Path) -> None:
    label_run = LabelRun.open(run)
    entry = next(label_run.entries())
    small = thumbnail(label_run, entry)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(small.labels.partition(",")[2]))))
    np.testing.assert_array_equal(pixels[..., 0], label_run.mask(entry))  # a small image is not resized
    np.testing.assert_array_equal(pixels[..., 1], label_run.confidence(entry).astype(int) * 100 // 255)


def test_a_thumbnail_is_small_whatever_the_image(tmp_path: Path) -> None:
    """The worst case: noise in image, labels and confidence."""
    out, images = tmp_path / "run", tmp_path / "images"
    write_about(out, images, CLASSES, [])
    label = label_of(random_mask(0, 900, 700, len(CLASSES), "noise"))
    noise = np.random.default_rng(0).integers(0, 256, (900, 700, 3), np.uint8)
    (images / "a" / "b").mkdir(parents=True)
    Image.fromarray(noise).save(images / label.file_name, format="PNG")
    with Manifest(out / "manifest.jsonl", FINGERPRINT) as manifest:
        add_label(out, images, label, manifest, CLASSES)
    label_run = LabelRun.open(out)
    small = thumbnail(label_run, next(label_run.entries()))
    assert (small.width, small.height) == (round(MAX_SIDE * 7 / 9), MAX_SIDE)
    assert len(small.image) + len(small.labels) < 260_000


def test_an_image_that_cannot_be_shown_is_named(run: Path, tmp_path: Path, capsys) -> None:
    copied = shutil.copytree(run.parent, tmp_path / "all")
    (copied / "images" / "scene_0000.png").unlink()
    Image.new("RGB", (60, 40)).save(copied / "images" / "scene_0002.png")
    (copied / "run" / "png" / "masks" / "scene_0004.png").write_bytes(b"broken")
    assert command(copied / "run", "--pictures", copied / "images") == 1
    output = capsys.readouterr().out
    assert all(f"scene_000{number}.png" in output for number in (0, 2, 4))
    assert "60 x 40" in output
    assert re.search(r"\b5\b", output)
    assert len(PageReader(copied / "run" / "review.html").links) == 3 * 5


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["--by", "colour"], "'colour'"),
        (["--count", "0"], "1 to 1000"),
        (["--count", "5000"], "5000"),
        (["--sample", "-1"], "-1"),
    ],
)
def test_bad_arguments_are_refused(run: Path, arguments, value, capsys) -> None:
    assert command(run, *arguments) == 2
    assert value in capsys.readouterr().err
    assert command(run / "png") == 2


def run_in_browser(page: Path, script: str, user: Path, *flags: str) -> tuple[list[str], str]:
    """Run `script` (it may await) in Chromium. Returns what it pushed to `results`, and console messages."""
    end = f"""<script>window.results = []; window.onerror = (text) => results.push("error " + text);
        ready.then(async () => {{ {script} }}).catch((problem) => results.push("error " + problem))
        .finally(() => {{ document.body.dataset.results = results.join("\\n"); }});</script></body>"""
    trial = page.with_name("trial.html")
    trial.write_text(page.read_text(encoding="utf-8").replace("</body>", end), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += ["--disable-component-update", "--disable-sync", "--disable-quic", f"--user-data-dir={user}"]
    options += ["--virtual-time-budget=20000", "--enable-logging=stderr", *(flags or ["--window-size=1280,1000"])]
    process = subprocess.run(
        [CHROMIUM, *options, "--dump-dom", f"file://{trial}"], capture_output=True, text=True, timeout=90, check=True
    )
    trial.unlink()
    results = re.search(r'data-results="([^"]*)"', process.stdout)
    assert results, process.stderr
    messages = [line for line in process.stderr.splitlines() if "CONSOLE" in line and HINT not in line]
    return unescape(results.group(1)).split("\n"), "\n".join(messages)


@pytest.fixture
def counted(run: Path):
    """Masks, confidence levels and classes of the run, by image."""
    label_run = LabelRun.open(run)
    pixels = {
        entry.image: (label_run.mask(entry), label_run.confidence(entry).astype(int) * 100 // 255)
        for entry in label_run.entries()
    }
    return label_run.classes, pixels


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on PATH")
def test_in_a_browser_the_slider_ignores_the_right_pixels(run: Path, tmp_path: Path, counted) -> None:
    pixels = counted[1]
    assert command(run) == 0
    script = """
        const report = () => {
          for (const card of cards) {
            const of = (kind) => card.node.querySelector(kind).getContext("2d")
                .getImageData(0, 0, 128, 128).data;
            card.drawn || draw(card);
            const mask = of("canvas.mask"), confidence = of("canvas.confidence");
            let striped = 0, painted = 0, gone = 0;
            for (let at = 0; at < mask.length; at += 4) {
              const [red, green, blue] = mask.slice(at, at + 3);
              const gray = red === green && red === blue && [30, 225].includes(red);
              striped += mask[at + 3] === 255 && gray; painted += mask[at + 3] === 255;
              gone += confidence[at + 3] === 0;
            }
            const ignored = card.node.querySelector(".ignored").textContent;
            results.push([card.name, striped, painted, gone, ignored].join("~"));
          }
          results.push($("status").textContent);
        };
        set($("threshold"), 40); report();
        set($("threshold"), 90); report();
        results.push($("threshold-now").textContent);"""
    results, console = run_in_browser(run / "review.html", script, tmp_path / "user")
    assert console == ""
    step = len(pixels) + 1
    for level, part in ((40, results[:step]), (90, results[step : 2 * step])):
        ignored = labelled = 0
        for line in part[:-1]:
            name, striped, painted, gone, fraction = line.split("~")
            mask, confidence = pixels[name]
            low = (mask != 255) & (confidence < level)
            below = confidence < level
            assert [int(striped), int(painted), int(gone)] == [low.sum(), (mask != 255).sum(), below.sum()]
            assert fraction == f"{100 * low.sum() / (mask != 255).sum():.1f} %"
            ignored, labelled = ignored + low.sum(), labelled + (mask != 255).sum()
        fraction = f"{100 * ignored / labelled:.1f} %"
        assert re.findall(r"\b8\b|[\d.]+ %", part[-1]) == ["8", "8", fraction, fraction]
    assert results[-1] == "0.90"


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on PATH")
def test_in_a_browser_filter_order_and_keys(run: Path, tmp_path: Path, counted) -> None:
    classes, pixels = counted
    frequent = max(range(len(classes)), key=lambda i: sum(int((mask == i).sum()) for mask, _ in pixels.values()))
    assert command(run) == 0
    script = f"""
        const shown = () => document.querySelectorAll("article:not([hidden])");
        const press = (key) => document.activeElement.dispatchEvent(
            new KeyboardEvent("keydown", {{ key, bubbles: true }}));
        $("class").value = "{frequent}"; $("class").dispatchEvent(new Event("change"));
        results.push(shown().length, $("which").textContent);
        const card = cards.find((card) => !card.node.hidden); draw(card);
        results.push(card.name, card.node.querySelector("canvas.mask").getContext("2d")
            .getImageData(0, 0, 128, 128).data.filter((value, at) => at % 4 === 3 && value).length);
        $("class").value = ""; $("class").dispatchEvent(new Event("change"));
        set($("threshold"), 50); $("order").value = "ignored"; $("order").dispatchEvent(new Event("change"));
        results.push([...document.querySelectorAll(".ignored")].map((node) => parseFloat(node.textContent)).join(" "));
        press("j"); press("j"); press("k"); press("j");
        results.push(document.activeElement === document.querySelectorAll("article")[1]);
        press("."); results.push($("threshold").value); press(","); press(","); results.push($("threshold").value);
        press("m"); results.push(getComputedStyle(document.querySelector("canvas.mask")).opacity);
        press("m"); results.push(getComputedStyle(document.querySelector("canvas.mask")).opacity);
        document.querySelector("#classes button").click(); results.push($("class").value);
        press("j"); results.push(document.activeElement.id);  // a list handles the letter keys itself
        results.push(document.documentElement.scrollWidth <= innerWidth);"""
    results, console = run_in_browser(run / "review.html", script, tmp_path / "user")
    assert console == ""
    images_with_class = [name for name, (mask, _) in pixels.items() if (mask == frequent).any()]
    assert results[:2] == [str(len(images_with_class)), classes[frequent]]
    assert results[2] in images_with_class
    assert int(results[3]) == (pixels[results[2]][0] == frequent).sum()
    order = [float(percent) for percent in results[4].split()]
    assert order == sorted(order, reverse=True)
    assert len(set(order)) > 1
    assert results[5:] == ["true", "51", "49", "0", "0.6", str(frequent), "class", "true"]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on PATH")
def test_in_a_browser_the_page_fits_a_phone_and_has_a_dark_mode(run: Path, tmp_path: Path) -> None:
    """Nothing is wider than the screen, and text has a contrast of 4.5 : 1 (WCAG) in both modes."""
    assert command(run) == 0
    script = """
        const light = (text) => text.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
            .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
        const page = light(getComputedStyle(document.body).backgroundColor);
        const contrast = (node) => { const text = light(getComputedStyle(node).color);
            return (Math.max(text, page) + 0.05) / (Math.min(text, page) + 0.05); };
        results.push(matchMedia("(prefers-color-scheme: dark)").matches, page < 0.5);
        const texts = ["body", ".dim", "a", ".numbers"].map((name) => document.querySelector(name));
        results.push(Math.min(...texts.map(contrast)));
        results.push(innerWidth, document.documentElement.scrollWidth <= innerWidth);
        results.push(document.querySelector("#controls").offsetHeight < 0.25 * 800);"""
    for dark, flags in ((False, ()), (True, ("--blink-settings=preferredColorScheme=0",))):
        results, console = run_in_browser(
            run / "review.html", script, tmp_path / "user", "--window-size=500,800", *flags
        )
        assert console == ""
        assert results[:2] == [str(dark).lower()] * 2
        assert float(results[2]) >= 4.5
        assert results[3:] == ["500", "true", "true"]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on PATH")
def test_in_a_browser_images_are_marked_enlarged_and_listed(run: Path, tmp_path: Path) -> None:
    assert command(run) == 0
    script = """
        const press = (key) => document.activeElement.dispatchEvent(
            new KeyboardEvent("keydown", { key, bubbles: true }));
        press("c"); results.push(document.activeElement.id); press("Enter");
        const [first, second] = document.querySelectorAll("article");
        results.push(document.activeElement === first); press("j"); results.push(document.activeElement === second);
        results.push($("export").disabled);
        press("x"); first.querySelector("input.wrong").click(); press("x"); press("x");
        results.push($("export").disabled, listOfMarked() === [first, second].map((node) =>
            node.querySelector("h3").textContent + "\\n").join(""), $("marked").textContent);
        results.push(JSON.parse(localStorage.getItem(store)).length);
        const width = second.offsetWidth; press("e"); results.push(second.offsetWidth > 1.5 * width);
        second.querySelector(".enlarge").click(); results.push(second.offsetWidth === width);
        set($("threshold"), 40); results.push($("command").textContent);"""
    results, console = run_in_browser(run / "review.html", script, tmp_path / "user")
    assert console == ""
    assert results == [
        "class",
        *["true"] * 3,
        "false",
        "true",
        "2 marked as wrong",
        "2",
        "true",
        "true",
        "--threshold 0.40",
    ]


def test_a_picture_that_was_replaced_by_one_of_its_size_is_named(run: Path, tmp_path: Path, capsys) -> None:
    copied = shutil.copytree(run.parent, tmp_path / "all")
    with Image.open(copied / "images" / "scene_0002.png") as image:
        Image.new("RGB", image.size).save(copied / "images" / "scene_0002.png")
    assert command(copied / "run", "--images", copied / "images") == 1
    assert "scene_0002.png" in capsys.readouterr().out
    assert len(PageReader(copied / "run" / "review.html").links) == 3 * 7
