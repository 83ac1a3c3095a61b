"""The page in headless Chromium, with real clicks and keys."""

from __future__ import annotations

import base64
import re
import shutil
import time

import pytest

import ca_seg
from tests.viewer.conftest import start

pytest.importorskip("gradio", reason="gradio is not installed: pip install 'ca-seg[view]'")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install playwright, and Chromium on PATH"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on PATH: apt-get install chromium"),
]
PATIENCE = 90_000  # milliseconds


@pytest.fixture(scope="module")
def viewer(mini, photo):
    settings = start(port=0, browser=False)
    with ca_seg.view(photo, ["dog", "grass"], backbone=mini, settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser, viewer):
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE)
    opened.goto(viewer.url)
    opened.wait_for_selector(".ca-class")
    yield opened
    context.close()


def words_of_legend(page) -> set[str]:
    return set(page.eval_on_selector_all(".ca-class", "buttons => buttons.map(b => b.dataset.name)"))


def wait_until(condition, seconds: float = PATIENCE / 1000) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_words_follow_and_a_wrong_one_is_said(page):
    assert words_of_legend(page) == {"dog", "grass"}
    words = page.locator("#words textarea, #words input").first
    words.press("End")
    words.press_sequentially(", sky", delay=20)
    page.wait_for_selector('.ca-class[data-name="sky"]')
    assert re.search(r"\d+ ms", page.inner_text("#status"))
    words.fill("dog, grass, skyy")
    page.wait_for_selector(".ca-problem")
    assert "skyy" in page.inner_text("#status")
    assert words_of_legend(page) == {"dog", "grass", "sky"}  # the last answer, and the page says so
    assert "dog, grass, sky" in page.inner_text("#status")


GIVE = """([content, name, kind]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0)), data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: "image/jpeg" }));
  const [target, event] = kind === "paste"
    ? [document, new ClipboardEvent("paste", { clipboardData: data, bubbles: true })]
    : [document.querySelector("#stage .ca-stage, #stage .ca-empty"),
       new DragEvent("drop", { dataTransfer: data, bubbles: true })];
  target.dispatchEvent(event);
}"""


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_a_photograph_is_pasted_or_dropped_and_words_come_in_one_piece(page, photo, kind):
    page.evaluate(GIVE, [base64.b64encode(photo.read_bytes()[:900]).decode(), "broken.jpg", kind])
    page.wait_for_selector(".ca-problem")
    assert "broken.jpg" in page.inner_text("#status")
    page.evaluate(GIVE, [base64.b64encode(photo.read_bytes()).decode(), "another.jpg", kind])
    page.wait_for_selector('#stage img[alt^="another: dog, grass"]')
    page.locator("#words textarea, #words input").first.fill("sky, cat, tree")
    page.wait_for_selector('.ca-class[data-name="tree"]')
    assert words_of_legend(page) == {"sky", "cat", "tree"}


def test_the_saved_mask_is_that_of_segment(page, mini, photo, tmp_path):
    page.get_by_role("tab", name="Save").click()
    page.get_by_role("button", name="Save", exact=True).click()
    link = page.locator('a[download="my photo_mask.png"]').first
    with page.expect_download() as download:
        link.click()
    download.value.save_as(tmp_path / "page.png")
    ca_seg.segment(photo, ["dog", "grass"], backbone=mini).save(tmp_path, "mask")
    assert (tmp_path / "page.png").read_bytes() == (tmp_path / "my photo_mask.png").read_bytes()


def test_a_pixel_and_a_class(page, mini, photo):
    image = page.locator(".ca-stage img")
    box = image.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)
    page.wait_for_selector(".ca-pixel")
    x, y, shown = re.match(r"Pixel (\d+), (\d+): (\w+)", page.inner_text(".ca-pixel p")).groups()
    assert abs(int(x) - 115) <= 2
    assert abs(int(y) - 85) <= 2
    alone = ca_seg.segment(photo, ["dog", "grass"], backbone=mini)
    assert shown == alone.classes[alone.mask[int(y), int(x)]]
    before = image.get_attribute("src")
    page.click('.ca-class[data-name="grass"]')
    page.wait_for_selector('.ca-class[data-name="grass"][aria-pressed=true]')
    assert page.get_attribute(".ca-stage img", "src") != before
    page.keyboard.press("Enter")  # the button still has the focus
    page.wait_for_selector('.ca-class[data-name="grass"][aria-pressed=false]')
    assert page.get_attribute(".ca-stage img", "src") == before


def test_the_point_moves_by_keys(page):
    page.focus(".ca-stage")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".ca-pixel")
    first = page.inner_text(".ca-pixel p")
    page.keyboard.press("ArrowDown")
    wait_until(lambda: page.inner_text(".ca-pixel p") != first)
    page.keyboard.press("Escape")
    assert page.locator(".ca-point").is_hidden()


def test_the_command_is_on_the_page(page, photo):
    page.get_by_role("tab", name="Command").click()
    page.wait_for_selector("#line .cm-content")
    assert f"ca-seg segment '{photo}' --concepts dog grass --backbone mini" in page.inner_text("#line .cm-content")


def test_another_backbone_is_read_with_its_settings(page):
    page.locator("#settings button").first.click()
    choice = page.get_by_label("Backbone", exact=True).first
    choice.click()
    choice.fill("mini-plain")
    choice.press("Enter")
    page.get_by_role("tab", name="Command").click()
    page.wait_for_selector("#line .cm-content")
    wait_until(lambda: "--backbone mini-plain" in page.inner_text("#line .cm-content"))
    assert "--layers" not in page.inner_text("#line .cm-content")  # they are those of its card


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_in_light_and_dark(browser, viewer, scheme):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    outside: list[str] = []
    page.on("request", lambda r: None if r.url.startswith((viewer.url, "data:", "blob:")) else outside.append(r.url))
    page.goto(viewer.url)
    page.wait_for_selector(".ca-class")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(map(float, re.findall(r"\d+", ground)[:3])) > 3 * 128
    assert light == (scheme == "light")
    assert page.locator(".ca-class").first.bounding_box()["height"] >= 30  # a finger can press it
    assert not outside  # nothing is fetched from elsewhere
    context.close()


def test_tabs_are_apart_and_a_closed_one_frees_its_recordings(browser, viewer):
    wait_until(lambda: len(viewer.tabs) == 0)
    contexts = [browser.new_context() for _ in range(2)]
    for context in contexts:
        page = context.new_page()
        page.goto(viewer.url)
        page.wait_for_selector(".ca-class", timeout=PATIENCE)
    assert len(viewer.tabs) == 2
    contexts[0].close()
    wait_until(lambda: len(viewer.tabs) == 1)
    contexts[1].close()
    wait_until(lambda: len(viewer.tabs) == 0)


def test_a_problem_is_said_until_it_is_closed_and_hides_nothing(page):
    page.get_by_role("tab", name="Save").click()
    page.get_by_label("Cut-out of the class").fill("cat")
    page.get_by_role("button", name="Save", exact=True).click()
    message = page.locator(".toast-body")
    message.wait_for()
    assert "cat" in message.inner_text()
    badge = page.locator("[data-testid=status-tracker] .error")
    badge.first.wait_for(state="attached")
    assert not any(one.is_visible() for one in badge.all())
    page.locator(".toast-close").click()
    message.wait_for(state="detached")


def test_a_browser_that_leaves_during_a_generation_leaves_the_others_in_peace(browser, viewer, page):
    context = browser.new_context()
    leaving = context.new_page()
    leaving.set_default_timeout(PATIENCE)
    leaving.goto(viewer.url)
    leaving.wait_for_selector(".ca-class")
    leaving.get_by_role("tab", name="Generate").click()
    leaving.get_by_label("Prompt").fill("a dog on grass")
    leaving.get_by_label("number input for Steps").fill("50")
    leaving.get_by_label("number input for Steps").press("Tab")
    leaving.get_by_role("button", name="Generate", exact=True).click()
    leaving.wait_for_selector("#generated img")
    context.close()
    page.locator("#words textarea, #words input").first.fill("dog, sky")
    page.wait_for_selector('.ca-class[data-name="sky"]')
    wait_until(lambda: len(viewer.tabs) == 1)
