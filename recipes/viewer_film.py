"""A film of the viewer: `python -m recipes.viewer_film` drives the page in Chromium and writes an animated WebP.

The page runs for real, with the backbone `photo` on a shipped photograph; the times on it are those of this machine.
How long each picture of the film stays is set here. Needs `pip install 'ca-seg[view]' playwright`, and Chromium.
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path
from typing import Any

from PIL import Image

import ca_seg
from ca_seg.resources import resource_path

PHOTOGRAPH = "000000000471.jpg"
SIZE = (1180, 800)  # of the window
WIDTH = 760  # of the film
MAX_BYTES = 1_500_000
PATIENCE = 240_000  # milliseconds


class Film:
    """The pictures of a page, and how long each stays, in milliseconds."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.pictures: list[Image.Image] = []
        self.durations: list[int] = []

    def take(self, duration: int) -> None:
        picture = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        self.pictures.append(
            picture.resize((WIDTH, round(WIDTH * picture.height / picture.width)), Image.Resampling.LANCZOS)
        )
        self.durations.append(duration)

    def save(self, path: Path) -> None:
        """Written in the best quality that is below MAX_BYTES."""
        path.parent.mkdir(parents=True, exist_ok=True)
        for quality in (80, 65, 50, 35):
            first, *others = self.pictures
            options = {"duration": self.durations, "loop": 0, "quality": quality, "method": 4}
            first.save(path, format="WEBP", save_all=True, append_images=others, **options)
            if path.stat().st_size < MAX_BYTES:
                return
        raise SystemExit(f"{path} is larger than {MAX_BYTES} bytes: take fewer pictures")


def play(page: Any, film: Film) -> None:
    """Words are typed one after another; then a pixel, a class, and the layers are looked at."""
    words = page.locator("#words textarea, #words input").first
    film.take(1200)
    for number, word in enumerate(("bus", "road", "sky")):
        text = word if number == 0 else f", {word}"
        for letter in text[:-1]:
            words.press_sequentially(letter)
            film.take(90)
        words.press_sequentially(text[-1])
        page.wait_for_selector(f'.ca-class[data-name="{word}"]')
        page.wait_for_selector(".ca-problem", state="detached")
        film.take(1500)
    box = page.locator(".ca-stage img").bounding_box()
    for x, y in ((0.47, 0.45), (0.2, 0.75)):
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.wait_for_timeout(3000)
        film.take(1600)
    page.keyboard.press("Escape")
    page.click('.ca-class[data-name="bus"]')
    page.wait_for_selector('.ca-class[data-name="bus"][aria-pressed=true]')
    film.take(1800)
    page.get_by_role("tab", name="Layers and timesteps").click()
    page.click("#by-layer")
    page.wait_for_selector(".ca-strip img")
    page.wait_for_timeout(1500)
    film.take(2600)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/images/viewer.webp"))
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    photo = resource_path("datasets", "photographs", "images") / PHOTOGRAPH
    settings = ca_seg.ViewSettings(port=0, browser=False)
    with ca_seg.view(photo, settings=settings) as viewer, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.set_default_timeout(PATIENCE)
        page.goto(viewer.url)
        page.wait_for_selector(".ca-stage img")
        page.wait_for_timeout(1000)
        film = Film(page)
        play(page, film)
        browser.close()
    film.save(arguments.out)
    print(f"{arguments.out}: {len(film.pictures)} pictures, {arguments.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
