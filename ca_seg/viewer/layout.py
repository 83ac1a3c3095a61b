"""The controls and panels of the page, without what they do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from ca_seg.backbones.loading.card import find_card, list_backbones
from ca_seg.concept.choices import READERS, SPACES
from ca_seg.resources import resource_path
from ca_seg.viewer.controls import PRECISIONS, REFINEMENTS, Controls
from ca_seg.viewer.export import FORMATS
from ca_seg.viewer.handlers import EMPTY
from ca_seg.viewer.settings import ViewSettings
from ca_seg.viewer.style import STAGE_SCRIPT

SLOT = 200  # pixels of width of a control
BUTTONS = ["download", "fullscreen"]  # not "share", which uploads a picture
SHOWN: dict[str, Any] = {"interactive": False, "format": "png", "type": "pil", "buttons": BUTTONS}


def layer_choices(name: str) -> list[int]:
    """The layers of a backbone as it is loaded: all of one that ships, of others those up to the last of its card."""
    card = find_card(name)
    if not card.folder:
        return list(range(max(card.layers) + 1))
    file = resource_path("checkpoints", card.folder, "transformer", "config.json")
    config = json.loads(file.read_text(encoding="utf-8"))
    return list(range(sum(config.get(key, 0) for key in ("num_layers", "num_single_layers"))))


@dataclass(frozen=True)
class Row:
    """The components of one `Controls`, in the order of its fields."""

    backbone: Any
    precision: Any
    background: Any
    threshold: Any
    layers: Any
    timestep: Any
    space: Any
    reader: Any
    softmax: Any
    refine: Any

    @property
    def all(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(Row)]


def control_row(start: Controls, layers: Sequence[int]) -> Row:
    """Controls that begin with `start`, two beside each other where there is room; `layers` can be chosen."""
    with gr.Row():
        backbone = gr.Dropdown(list_backbones(), value=start.backbone, label="Backbone", min_width=SLOT)
        precision = gr.Dropdown(list(PRECISIONS), value=start.precision, label="Precision of weights", min_width=SLOT)
    with gr.Row():
        refine = gr.Dropdown(
            list(REFINEMENTS),
            value=list(start.refine),
            multiselect=True,
            label="Refinement",
            info="sharper edges: pamr",
            min_width=SLOT,
        )
        background = gr.Textbox(
            start.background,
            label="Background words",
            info="for everything else",
            placeholder="floor, wall",
            min_width=SLOT,
        )
    with gr.Row():
        threshold = gr.Slider(
            0, 1, value=start.threshold, step=0.01, label="Threshold", info="below: background", min_width=SLOT
        )
        timestep = gr.Slider(
            0, 1, value=start.timestep, step=0.01, label="Timestep", info="0 clean, 1 noise", min_width=SLOT
        )
    with gr.Row():
        chosen = gr.Dropdown(list(layers), value=list(start.layers), multiselect=True, label="Layers", min_width=SLOT)
        space = gr.Dropdown(list(SPACES), value=start.space, label="Space", min_width=SLOT)
    with gr.Row():
        reader = gr.Dropdown(list(READERS), value=start.reader, label="Reader", min_width=SLOT)
        softmax = gr.Checkbox(start.softmax, label="Softmax", min_width=SLOT)
    return Row(backbone, precision, background, threshold, chosen, timestep, space, reader, softmax, refine)


def _note(text: str) -> None:
    gr.HTML(f'<p class="ca-time">{text}</p>')


class Layout:
    """All components. Made inside `gr.Blocks`.

    Args:
        start: the settings that the page begins with
        pictures: names of photographs to choose from
        layers: of the backbone at the start
    """

    def __init__(self, start: ViewSettings, pictures: Sequence[str], layers: Sequence[int]) -> None:
        controls = Controls.of(start)
        gr.HTML(
            "<h1>ca_seg</h1><p>Words to masks: a frozen diffusion transformer reads a photograph once, and words "
            "follow.</p>",
            elem_classes="ca-title",
        )
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                self.photo = gr.File(
                    label="Photograph (drop, paste)", file_types=["image"], height=110, elem_id="photo"
                )
                self.pictures = gr.Dropdown(list(pictures), value=None, label="Or choose one", elem_id="pictures")
                self.words = gr.Textbox(
                    ", ".join(start.concepts),
                    label="Words, separated by commas",
                    placeholder="bus, road, sky",
                    elem_id="words",
                )
                with gr.Accordion("Settings", open=False, elem_id="settings"):
                    self.row = control_row(controls, layers)
                    self.memory = gr.HTML(label="memory html", elem_id="memory")
                    self.load = gr.Button("Load backbone", size="sm")
            with gr.Column(scale=5, min_width=320), gr.Tabs():
                self._answers()
                self._more(controls, layers)

    def _answers(self) -> None:
        with gr.Tab("Mask"):
            self.status = gr.HTML(label="status html", elem_id="status")
            self.stage = gr.HTML(EMPTY, label="stage html", js_on_load=STAGE_SCRIPT, elem_id="stage")
            self.pixel = gr.HTML(label="pixel html", elem_id="pixel")
            with gr.Accordion("A pixel by its numbers", open=False), gr.Row():
                self.x = gr.Number(0, label="Column", precision=0, minimum=0)
                self.y = gr.Number(0, label="Row", precision=0, minimum=0)
                self.at = gr.Button("Show pixel")
            self.probabilities = gr.JSON(label="classes of the pixel", visible=False)
        with gr.Tab("Heat maps"):
            self.heat = gr.HTML(label="heat html", elem_id="heat")
        with gr.Tab("Layers and timesteps"):
            _note(
                "<b>Every layer</b> shows the map of each word in each single layer. <b>Timesteps</b> shows the maps "
                "of the chosen layers with more and more noise on the photograph, by a pass for each."
            )
            with gr.Row():
                self.by_layer = gr.Button("Every layer", elem_id="by-layer")
                self.by_timestep = gr.Button("Timesteps")
            self.strip = gr.HTML(label="strip html", elem_id="strip")
            self.arrays = gr.File(label="The maps as arrays (npz)", height=80)

    def _more(self, controls: Controls, layers: Sequence[int]) -> None:
        with gr.Tab("Compare"):
            with gr.Accordion("The other settings", open=True, elem_classes="ca-other"):
                self.other = control_row(controls, layers)
            self.compare = gr.Button("Compare", variant="primary")
            with gr.Row():
                self.first = gr.Image(label="As on the left", **SHOWN)
                self.second = gr.Image(label="The other settings", **SHOWN)
            self.agreement = gr.JSON(label="Agreement")
        with gr.Tab("Generate"):
            _note(
                "A picture is generated from the prompt, and the maps of the words on the left (without words: of the "
                "things that the prompt names) are shown after each step. The backbones that ship with ca_seg are weak "
                "generators: of <b>mini</b> expect a rough sketch, of <b>photo</b> a blur."
            )
            self.prompt = gr.Textbox(
                label="Prompt", placeholder="what to generate, such as: a cat on grass", max_length=None
            )
            with gr.Row():
                self.steps = gr.Slider(1, 50, value=8, step=1, label="Steps")
                self.side = gr.Number(0, label="Pixels", info="0: the backbone's", precision=0, minimum=0)
                self.seed = gr.Number(0, label="Seed", precision=0, minimum=0)
            self.generate = gr.Button("Generate", variant="primary")
            self.step = gr.Slider(1, 50, value=1, step=1, label="Step that is shown")
            self.generated = gr.HTML(label="generated html", elem_id="generated")
            self.preview = gr.Image(label="The picture", **SHOWN)
        with gr.Tab("Video"):
            self.video = gr.File(label="Video", file_types=["video"], height=110)
            self.segment_video = gr.Button("Segment video", variant="primary")
            self.overlay = gr.Video(label="Overlay", interactive=False, buttons=["download"])
            self.frame = gr.Slider(0, 1, value=0, step=1, label="Frame")
            self.still = gr.Image(label="One frame", **SHOWN)
            self.clip = gr.JSON(label="The video")
        with gr.Tab("Save"):
            self.formats = gr.CheckboxGroup(list(FORMATS), value=list(FORMATS), label="Files")
            self.cutout = gr.Textbox(label="Cut-out of the class", placeholder="bus")
            self.save = gr.Button("Save", variant="primary")
            self.files = gr.File(label="Files", file_count="multiple")
            self.facts = gr.JSON(label="Scores", open=False)
        with gr.Tab("Command"):
            self.line = gr.Code(
                label="Shell",
                language="shell",
                lines=2,
                max_lines=8,
                interactive=False,
                wrap_lines=True,
                elem_id="line",
            )
            self.block = gr.Code(
                label="Python",
                language="python",
                lines=4,
                max_lines=12,
                interactive=False,
                wrap_lines=True,
                elem_id="block",
            )
