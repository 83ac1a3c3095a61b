"""The review page of a run of mini on the shipped scenes, read by an HTML parser and used in a browser."""

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
from ca_seg.review.thumbnail import MAX_SIDE, thumbnail
from tests.labelling.example_run import FINGERPRINT, add_label, example_run, write_about
from tests.labelling.random_labels import NAMES as CLASSES
from tests.labelling.random_labels import label_of, random_mask

CHROMIUM = shutil.which("chromium")
NAMES = {1: 'it\'s "<script>alert(1)<|script>" & co.png', 3: "Straße 道/ü #1 50%?.png"}
HINT = "willReadFrequently"  # a canvas that these tests read over and over
THRESHOLD = 0.05  # of the run itself: some pixels have no label


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return example_run(tmp_path_factory.mktemp("review"), 8, names=NAMES, threshold=THRESHOLD)


def command(*arguments: object) -> int:
    return main(["review", *map(str, arguments)])


class Reader(HTMLParser):
    def __init__(self, page: Path) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.links: list[str] = []
        self.labels: list[str] = []
        self.ids: list[str] = []
        self.named: list[str] = []
        self.scripts = 0
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        own = dict(attributes)
        self.scripts += tag == "script"
        self.sources += [own["src"]] if "src" in own else []
        self.links += [own["href"]] if "href" in own else []
        self.labels += [own["data-labels"]] if "data-labels" in own else []
        self.ids += [own["id"]] if "id" in own else []
        if tag in ("input", "select", "img", "canvas"):
            self.named += [own.get("aria-label") or own.get("alt") or own.get("id") or ""]


def test_the_page_is_one_file_with_links_to_the_files(run: Path, capsys) -> None:
    assert command(run) == 0
    assert "8 images" in capsys.readouterr().out
    html, reader = (run / "review.html").read_text(encoding="utf-8"), Reader(run / "review.html")
    assert reader.scripts == 2  # the data, and the script
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "Straße 道" in html
    assert "http" not in html
    assert all(source.startswith("data:image/webp;base64,") for source in reader.sources)
    assert len(reader.links) == 3 * 8
    assert all((run / unquote(link)).is_file() for link in reader.links)
    assert len(set(reader.ids)) == len(reader.ids)
    assert all(reader.named)  # everything has an accessible name
    content = json.loads((run / "statistics.json").read_text())
    assert content["images"] == 8
    assert content["skipped"] == [["broken <b>.jpg", "it is no image"]]
    assert (run / "statistics.csv").read_text().startswith("class,images,pixels,fraction,mean_confidence\n")


def test_the_page_may_lie_elsewhere_and_shows_so_many(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "a" / "b.html"
    assert command(run, "--count", 3, "--by", "class", "--sample", 2, "--out", page) == 0
    reader = Reader(page)
    assert len(reader.links) == 9
    assert all((page.parent / unquote(link)).is_file() for link in reader.links)
    assert "in 2 of the 8" in page.read_text()


def test_a_thumbnail_holds_labels_and_confidence_of_single_pixels(run: Path) -> None:
    own = LabelRun.open(run)
    entry = next(own.entries())
    small = thumbnail(own, entry)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(small.labels.partition(",")[2]))))
    np.testing.assert_array_equal(pixels[..., 0], own.mask(entry))  # a small image stays as it is
    np.testing.assert_array_equal(pixels[..., 1], own.confidence(entry).astype(int) * 100 // 255)


def test_a_thumbnail_is_small_whatever_the_image(tmp_path: Path) -> None:
    """The worst there is: noise in image, labels and confidence."""
    out, images = tmp_path / "run", tmp_path / "images"
    write_about(out, images, CLASSES, [])
    label = label_of(random_mask(0, 900, 700, len(CLASSES), "noise"))
    noise = np.random.default_rng(0).integers(0, 256, (900, 700, 3), np.uint8)
    (images / "a" / "b").mkdir(parents=True)
    Image.fromarray(noise).save(images / label.file_name, format="PNG")
    with Manifest(out / "manifest.jsonl", FINGERPRINT) as manifest:
        add_label(out, images, label, manifest, CLASSES)
    own = LabelRun.open(out)
    small = thumbnail(own, next(own.entries()))
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
    assert "5 images" in output
    assert len(Reader(copied / "run" / "review.html").links) == 3 * 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--by", "colour"], "'colour'"),
        (["--count", "0"], "1 to 1000"),
        (["--count", "5000"], "5000"),
        (["--sample", "-1"], "-1"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run: Path, arguments, said, capsys) -> None:
    assert command(run, *arguments) == 2
    assert said in capsys.readouterr().err
    assert command(run / "png") == 2


def opened(page: Path, script: str, user: Path, *flags: str) -> tuple[list[str], str]:
    """What `script` says (it may await), in Chromium, and what stood in the console."""
    end = f"""<script>window.said = []; window.onerror = (text) => said.push("error " + text);
        ready.then(async () => {{ {script} }}).catch((problem) => said.push("error " + problem))
        .finally(() => {{ document.body.dataset.said = said.join("\\n"); }});</script></body>"""
    trial = page.with_name("trial.html")
    trial.write_text(page.read_text(encoding="utf-8").replace("</body>", end), encoding="utf-8")
    fixed = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    fixed += ["--disable-component-update", "--disable-sync", "--disable-quic", f"--user-data-dir={user}"]
    fixed += ["--virtual-time-budget=20000", "--enable-logging=stderr", *(flags or ["--window-size=1280,1000"])]
    done = subprocess.run(
        [CHROMIUM, *fixed, "--dump-dom", f"file://{trial}"], capture_output=True, text=True, timeout=90, check=True
    )
    trial.unlink()
    found = re.search(r'data-said="([^"]*)"', done.stdout)
    assert found, done.stderr
    wrong = [line for line in done.stderr.splitlines() if "CONSOLE" in line and HINT not in line]
    return unescape(found.group(1)).split("\n"), "\n".join(wrong)


@pytest.fixture
def counted(run: Path):
    """Masks, confidence levels and classes of the run, by image."""
    own = LabelRun.open(run)
    pixels = {e.image: (own.mask(e), own.confidence(e).astype(int) * 100 // 255) for e in own.entries()}
    return own.classes, pixels


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on PATH")
def test_in_a_browser_the_slider_ignores_the_very_pixels(run: Path, tmp_path: Path, counted) -> None:
    pixels = counted[1]
    assert command(run) == 0
    script = """
        const say = () => {
          for (const card of cards) {
            const of = (kind) => card.node.querySelector(kind).getContext("2d")
                .getImageData(0, 0, 128, 128).data;
            card.drawn || draw(card);
            const mask = of("canvas.mask"), sure = of("canvas.confidence");
            let striped = 0, painted = 0, gone = 0;
            for (let at = 0; at < mask.length; at += 4) {
              const [red, green, blue] = mask.slice(at, at + 3);
              const gray = red === green && red === blue && [30, 225].includes(red);
              striped += mask[at + 3] === 255 && gray; painted += mask[at + 3] === 255; gone += sure[at + 3] === 0;
            }
            said.push([card.name, striped, painted, gone, card.node.querySelector(".ignored").textContent].join("~"));
          }
          said.push($("status").textContent);
        };
        set($("threshold"), 40); say();
        set($("threshold"), 90); say();
        said.push($("threshold-now").textContent);"""
    said, console = opened(run / "review.html", script, tmp_path / "user")
    assert console == ""
    step = len(pixels) + 1
    for level, part in ((40, said[:step]), (90, said[step : 2 * step])):
        ignored = labelled = 0
        for line in part[:-1]:
            name, striped, painted, gone, share = line.split("~")
            mask, sure = pixels[name]
            low = (mask != 255) & (sure < level)
            assert [int(striped), int(painted), int(gone)] == [low.sum(), (mask != 255).sum(), (sure < level).sum()]
            assert share == f"{100 * low.sum() / (mask != 255).sum():.1f} %"
            ignored, labelled = ignored + low.sum(), labelled + (mask != 255).sum()
        share = f"{100 * ignored / labelled:.1f} %"
        assert part[-1] == f"8 of 8 images. Of their labelled pixels, {share} would be ignored; in the run {share}."
    assert said[-1] == "0.90"


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
        said.push(shown().length, $("which").textContent);
        const card = cards.find((own) => !own.node.hidden); draw(card);
        said.push(card.name, card.node.querySelector("canvas.mask").getContext("2d")
            .getImageData(0, 0, 128, 128).data.filter((value, at) => at % 4 === 3 && value).length);
        $("class").value = ""; $("class").dispatchEvent(new Event("change"));
        set($("threshold"), 50); $("order").value = "ignored"; $("order").dispatchEvent(new Event("change"));
        said.push([...document.querySelectorAll(".ignored")].map((node) => parseFloat(node.textContent)).join(" "));
        press("j"); press("j"); press("k"); press("j");
        said.push(document.activeElement === document.querySelectorAll("article")[1]);
        press("."); said.push($("threshold").value); press(","); press(","); said.push($("threshold").value);
        press("m"); said.push(getComputedStyle(document.querySelector("canvas.mask")).opacity);
        press("m"); said.push(getComputedStyle(document.querySelector("canvas.mask")).opacity);
        document.querySelector("#classes button").click(); said.push($("class").value);
        press("j"); said.push(document.activeElement.id);  // letters in a list are the list's
        said.push(document.documentElement.scrollWidth <= innerWidth);"""
    said, console = opened(run / "review.html", script, tmp_path / "user")
    assert console == ""
    having = [name for name, (mask, _) in pixels.items() if (mask == frequent).any()]
    assert said[:2] == [str(len(having)), classes[frequent]]
    assert said[2] in having
    assert int(said[3]) == (pixels[said[2]][0] == frequent).sum()
    order = [float(share) for share in said[4].split()]
    assert order == sorted(order, reverse=True)
    assert len(set(order)) > 1
    assert said[5:] == ["true", "51", "49", "0", "0.6", str(frequent), "class", "true"]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on PATH")
def test_in_a_browser_it_fits_a_phone_in_the_dark(run: Path, tmp_path: Path) -> None:
    """Nothing is wider than the screen, and text stands out 4.5 : 1 (WCAG) in both modes."""
    assert command(run) == 0
    script = """
        const light = (text) => text.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
            .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
        const page = light(getComputedStyle(document.body).backgroundColor);
        const apart = (node) => { const own = light(getComputedStyle(node).color);
            return (Math.max(own, page) + 0.05) / (Math.min(own, page) + 0.05); };
        said.push(matchMedia("(prefers-color-scheme: dark)").matches, page < 0.5);
        said.push(Math.min(...["body", ".dim", "a", ".numbers"].map((name) => apart(document.querySelector(name)))));
        said.push(innerWidth, document.documentElement.scrollWidth <= innerWidth);
        said.push(document.querySelector("#controls").offsetHeight < 0.25 * 800);"""
    for dark, flags in ((False, ()), (True, ("--blink-settings=preferredColorScheme=0",))):
        said, console = opened(run / "review.html", script, tmp_path / "user", "--window-size=500,800", *flags)
        assert console == ""
        assert said[:2] == [str(dark).lower()] * 2
        assert float(said[2]) >= 4.5
        assert said[3:] == ["500", "true", "true"]
