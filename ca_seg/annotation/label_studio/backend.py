"""Predictions for the tasks of Label Studio, by the words of the project's labels or of the annotator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ca_seg import __version__
from ca_seg.annotation.image_source import ImageSource
from ca_seg.annotation.label_studio.config import LabelControl
from ca_seg.annotation.label_studio.prompt import prompt_phrases, typed_text
from ca_seg.annotation.label_studio.results import prediction
from ca_seg.annotation.word_masks import WordMasks
from ca_seg.errors import UserError
from ca_seg.fingerprint import fingerprint


@dataclass(frozen=True, eq=False)
class LabelStudioBackend:
    """What Label Studio asks of a machine learning backend.

    Args:
        masks: segments images by words
        images: opens the images that tasks name
        control: the name of the control that is predicted; "": the first of a configuration
        tolerance: how far a polygon may leave the rim of its part, in pixels
        min_area: polygons and rectangles of smaller parts are left out, as a fraction of the image
    """

    masks: WordMasks
    images: ImageSource
    control: str = ""
    tolerance: float = 1.0
    min_area: float = 0.0

    @property
    def name(self) -> str:
        """Version and backbone."""
        return f"ca_seg {__version__} {self.masks.backbone.card.name}"

    def model_version(self, control: LabelControl) -> str:
        """Stored with each prediction. It changes with settings and words: Label Studio then asks for a task again."""
        settings = {
            "masks": asdict(self.masks.settings),
            "phrases": {label: list(words) for label, words in control.phrases.items()},
            "shapes": [control.kind, self.tolerance, self.min_area],
        }
        return f"{self.name} {fingerprint(settings, digits=8)}"

    def check(self, config: str) -> LabelControl:
        """Whether a project can be predicted: its configuration, and its words. Raises UserError."""
        control = LabelControl.parse(config, self.control)
        self.masks.segmenter(control.phrases)
        return control

    def predict(
        self, tasks: Sequence[Mapping[str, Any]], config: str, context: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """One prediction for each task.

        Args:
            tasks: as Label Studio sends them, with the image's address in "data"
            config: the project's labelling configuration
            context: of an interactive question: the results that the annotator drew or typed; its words are asked in
                place of those of the labels

        Raises:
            UserError: for a configuration, words or images that cannot be used; nothing is predicted then
        """
        control = LabelControl.parse(config, self.control)
        text = typed_text(context)
        phrases = prompt_phrases(text, control) if text.strip() else control.phrases
        return [self._prediction(task, control, phrases) for task in tasks]

    def _prediction(
        self, task: Mapping[str, Any], control: LabelControl, phrases: Mapping[str, tuple[str, ...]]
    ) -> dict[str, Any]:
        data = task.get("data") if isinstance(task, Mapping) else None
        if not isinstance(data, Mapping) or control.field not in data:
            raise UserError(f"a task has no field {control.field!r}, which the configuration names as its image")
        segmentation = self.masks(self.images.open(data[control.field]), phrases)
        return prediction(
            segmentation, control, self.model_version(control), tolerance=self.tolerance, min_area=self.min_area
        )
