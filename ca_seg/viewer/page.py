"""The page: its layout joined with the handlers. The events with an `api_name` are the HTTP interface.

A client of the interface is a tab like one of a browser: it asks, and then reads what is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from html import escape
from pathlib import Path
from shutil import copy
from typing import Any

import gradio as gr

from ca_seg.concept.choices import MEAN
from ca_seg.errors import UserError
from ca_seg.viewer.controls import Controls
from ca_seg.viewer.handlers import Handlers, Shown, message
from ca_seg.viewer.layout import Layout, layer_choices
from ca_seg.viewer.settings import ViewSettings
from ca_seg.viewer.style import GIVEN
from ca_seg.viewer.tab import Tabs

MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
READ: dict[str, Any] = {"concurrency_id": "read", "concurrency_limit": 4, "show_progress": "hidden"}
PRIVATE: dict[str, Any] = {"api_visibility": "private"}


class Page:
    """The page of one server.

    Args:
        start: the settings that it begins with
        handlers: what it does
        tabs: the open tabs
        pictures: photographs to choose from, by the name that is shown
        opens_first: whether the page begins with the first of them
    """

    def __init__(
        self, start: ViewSettings, handlers: Handlers, tabs: Tabs, pictures: dict[str, Path], *, opens_first: bool
    ) -> None:
        self.start, self.handlers, self.tabs, self.pictures = start, handlers, tabs, pictures
        self.opens_first = opens_first
        with gr.Blocks(title="ca_seg", analytics_enabled=False, delete_cache=(600, 3600)) as self.blocks:
            self.parts = Layout(start, list(pictures), layer_choices(start.backbone))
            self._asking()
            self._reading()
            self._making()
        self.blocks.queue(max_size=64)

    def _asking(self) -> None:
        p = self.parts
        asked = [p.photo, p.words, *p.row.all]
        shown = [p.facts, p.status, p.stage, p.heat, p.line, p.block]
        controls = [component.change for component in p.row.all if component is not p.row.backbone]
        following = gr.on(
            [p.photo.change, p.words.change, p.words.submit, *controls],
            self._follow,
            asked,
            [*shown, p.pixel],
            trigger_mode="always_last",
            show_progress="hidden",
            **MODEL,
            **PRIVATE,
        )
        again: Any = {"fn": self._catch_up, "inputs": asked, "outputs": [*shown, p.pixel], "show_progress": "hidden"}
        following.then(**again, **MODEL, **PRIVATE)
        gr.Button(visible=False).click(self._ask, asked, shown, api_name="ask", **MODEL)
        p.pictures.change(self._choose, [p.pictures], [p.photo], **PRIVATE, **READ)
        for row in (p.row, p.other):
            controls_of_it = [row.layers, row.timestep, row.space]
            changed = row.backbone.input(self._backbone, [row.backbone], controls_of_it, **PRIVATE, **READ)
            if row is p.row:  # with the layers and the timestep of the new one
                changed.then(**again, **MODEL, **PRIVATE)
        given = [p.row.backbone, p.row.precision]
        for control in given:
            control.input(self._memory, given, [p.memory], **PRIVATE, **READ)
        load = p.load.click(self._load, given, [p.memory], api_name="load", **MODEL)
        load.then(self._follow, asked, [*shown, p.pixel], **MODEL, **PRIVATE)
        self.blocks.load(self._open, None, [p.photo], **PRIVATE, show_progress="hidden")
        self.blocks.unload(self._close)

    def _reading(self) -> None:
        p = self.parts
        p.stage.select(self._point, None, [p.pixel, p.x, p.y], trigger_mode="always_last", **PRIVATE, **READ)
        p.stage.input(self._press, None, [p.stage], **PRIVATE, **READ)
        p.stage.upload(None, None, [p.photo], js=f"() => {GIVEN}", **PRIVATE)
        p.stage.error(self._refuse, None, None, **PRIVATE, **READ)
        p.at.click(self._pixel, [p.x, p.y], [p.pixel, p.probabilities], api_name="probabilities", **READ)
        p.save.click(self._save, [p.formats, p.cutout], [p.files], api_name="save", **READ)
        command = [p.line, p.block]
        gr.Button(visible=False).click(self._command, None, command, api_name="command", **READ)
        last: dict[str, Any] = {"trigger_mode": "always_last"}
        p.step.input(self._step, [p.step], [p.generated], **last, **PRIVATE, **READ)
        p.frame.input(self._frame, [p.frame], [p.still], **last, api_name="frame", **READ)

    def _making(self) -> None:
        p = self.parts
        p.by_layer.click(self._layers, None, [p.strip, p.arrays], api_name="layers", **MODEL)
        p.by_timestep.click(self._timesteps, None, [p.strip, p.arrays], api_name="timesteps", **MODEL)
        p.compare.click(self._compare, p.other.all, [p.first, p.second, p.agreement], api_name="compare", **MODEL)
        p.generate.click(
            self._generate,
            [p.prompt, p.steps, p.side, p.seed],
            [p.generated, p.preview, p.step],
            api_name="generate",
            show_progress="minimal",
            **MODEL,
        )
        p.segment_video.click(self._video, [p.video], [p.overlay, p.clip, p.frame], api_name="video", **MODEL)

    def _follow(self, request: gr.Request, photo: Any, words: str, *controls: Any) -> tuple[Any, ...]:
        tab = self.tabs.of(_tab(request))
        chosen = _raised(lambda: _controls(*controls))
        tab.followed = (photo, words, chosen)
        return (*_outputs(_raised(lambda: self.handlers.follow(tab, photo, words, chosen))), "")

    def _catch_up(self, request: gr.Request, photo: Any, words: str, *controls: Any) -> tuple[Any, ...]:
        """Follow what was typed while the last answer arrived: gradio may drop an event in that moment."""
        if self.tabs.of(_tab(request)).followed == (photo, words, _controls(*controls)):
            return tuple(gr.skip() for _ in range(7))
        return self._follow(request, photo, words, *controls)

    def _ask(
        self,
        photo: Any,
        words: str,
        backbone: str,
        precision: str,
        background: str,
        threshold: float,
        layers: list[int],
        timestep: float,
        space: str,
        reader: str,
        softmax: bool,
        refine: list[str],
        request: gr.Request,
    ) -> tuple[Any, ...]:
        given = (backbone, precision, background, threshold, layers, timestep, space, reader, softmax, refine)
        tab = self.tabs.of(_tab(request))
        return _outputs(_raised(lambda: self.handlers.ask(tab, photo, words, _controls(*given))))

    def _choose(self, name: str | None, request: gr.Request) -> str | None:
        """A copy of a shipped or given photograph, in the tab's folder."""
        if name is None:
            return None
        return str(copy(self.pictures[name], self.tabs.of(_tab(request)).session.new_folder()))

    def _open(self, request: gr.Request) -> Any:
        """The first of the photographs that were given."""
        return self._choose(next(iter(self.pictures)), request) if self.opens_first else None

    def _close(self, request: gr.Request) -> None:
        self.tabs.close(_tab(request))

    def _backbone(self, backbone: str) -> tuple[Any, ...]:
        """The controls of another backbone."""
        controls = _raised(lambda: Controls.of(_named(self.start, backbone)))
        layers = gr.update(choices=layer_choices(backbone), value=list(controls.layers))
        return layers, controls.timestep, controls.space

    def _memory(self, backbone: str, precision: str, request: gr.Request) -> str:
        """The memory that a backbone takes."""
        tab = self.tabs.of(_tab(request))
        text = _raised(lambda: self.handlers.estimate(tab, Controls(backbone, precision)))
        return f'<p class="ca-time">{escape(text)}</p>'

    def _load(self, backbone: str, precision: str, request: gr.Request) -> str:
        tab = self.tabs.of(_tab(request))
        text = _raised(lambda: self.handlers.load(tab, Controls(backbone, precision)))
        return f'<p class="ca-time">{escape(text)}</p>'

    def _point(self, point: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        x, y = point._data["x"], point._data["y"]
        return _raised(lambda: self.handlers.pixel(self.tabs.of(_tab(request)), x, y))[0], x, y

    def _press(self, pressed: gr.EventData, request: gr.Request) -> str:
        return _raised(lambda: self.handlers.isolate(self.tabs.of(_tab(request)), pressed._data["name"]))

    def _refuse(self, problem: gr.EventData) -> None:
        """Say why a pasted or dropped file was not uploaded."""
        raise gr.Error(escape(str(problem._data["text"])), duration=None, print_exception=False)

    def _pixel(self, x: float, y: float, request: gr.Request) -> tuple[Any, ...]:
        return _raised(lambda: self.handlers.pixel(self.tabs.of(_tab(request)), x, y))

    def _save(self, formats: list[str], cutout: str, request: gr.Request) -> list[str]:
        return _raised(lambda: self.handlers.save(self.tabs.of(_tab(request)), formats, cutout.strip()))

    def _command(self, request: gr.Request) -> tuple[str, str]:
        return _raised(lambda: self.handlers.commands(self.tabs.of(_tab(request)).shown()))

    def _layers(self, request: gr.Request) -> tuple[str, str]:
        return _raised(lambda: self.handlers.strip(self.tabs.of(_tab(request)), "layers"))

    def _timesteps(self, request: gr.Request) -> tuple[str, str]:
        return _raised(lambda: self.handlers.strip(self.tabs.of(_tab(request)), "timesteps"))

    def _compare(
        self,
        backbone: str,
        precision: str,
        background: str,
        threshold: float,
        layers: list[int],
        timestep: float,
        space: str,
        reader: str,
        softmax: bool,
        refine: list[str],
        request: gr.Request,
    ) -> tuple[Any, ...]:
        given = (backbone, precision, background, threshold, layers, timestep, space, reader, softmax, refine)
        return _raised(lambda: self.handlers.compare(self.tabs.of(_tab(request)), _controls(*given)))

    def _generate(
        self, prompt: str, steps: float, side: float, seed: float, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        updates = self.handlers.generate(self.tabs.of(_tab(request)), prompt, steps, side, seed)
        number, end = 0, object()
        while (shown := _raised(lambda: next(updates, end))) is not end:
            number += 1
            yield *shown, gr.update(value=min(number, int(steps)), maximum=int(steps))

    def _step(self, step: float, request: gr.Request) -> str:
        return _raised(lambda: self.handlers.step(self.tabs.of(_tab(request)), step))

    def _video(self, video: Any, request: gr.Request) -> tuple[Any, ...]:
        overlay, facts = _raised(lambda: self.handlers.clip(self.tabs.of(_tab(request)), video))
        return overlay, facts, gr.update(value=0, maximum=max(1, facts["frames"] - 1))

    def _frame(self, frame: float, request: gr.Request) -> Any:
        return _raised(lambda: self.handlers.frame(self.tabs.of(_tab(request)), frame))


def _tab(request: gr.Request) -> str:
    """The identifier of the tab that asks."""
    return str(request.session_hash)


def _controls(*values: Any) -> Controls:
    backbone, precision, background, threshold, layers, timestep, space, reader, softmax, refine = values
    number = None if timestep is None else float(timestep)
    chosen = (backbone, precision, background, float(threshold or 0), tuple(layers or ()), number)
    return Controls(*chosen, space, reader, bool(softmax), tuple(refine or ()))


def _named(start: ViewSettings, backbone: str) -> Any:
    return (
        start
        if start.backbone == backbone
        else replace(start, backbone=backbone, layers=None, timesteps=None, timestep_choice=MEAN)
    )


def _outputs(shown: Shown) -> tuple[Any, ...]:
    return shown.facts, shown.status, shown.stage, shown.heat, shown.line, shown.block


def _raised(work: Callable[[], Any]) -> Any:
    """What `work` returns; a problem that a user can correct becomes one message on the page, until it is closed."""
    try:
        return work()
    except (UserError, MemoryError, RuntimeError) as problem:
        raise gr.Error(escape(message(problem), quote=False), duration=None, print_exception=False) from problem
