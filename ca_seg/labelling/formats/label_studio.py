"""Label Studio: tasks with brush pre-annotations, one for each class of an image.

tasks.json            what "Import" takes: images, and predictions of one stroke for each class
label_config.xml      the labelling interface that fits them

The images are not uploaded: a task names them by `url`, by default a path in Label Studio's local file storage.
(Format: labelstud.io, "Import pre-annotated data"; the brush code of label_studio_sdk.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from ca_seg.errors import UserError
from ca_seg.labelling.formats.brush import brush_rle
from ca_seg.labelling.formats.regions import class_numbers, regions
from ca_seg.labelling.formats.voc_colours import voc_colours
from ca_seg.labelling.label import Label
from ca_seg.labelling.output import Output


@dataclass(frozen=True)
class LabelStudio:
    """Loses which pixels were ignored: they are under no stroke.

    Where a label has a confidence, its mean is the score of the prediction.

    Args:
        url: where Label Studio finds an image, with {} for its name. Web addresses are escaped, those of object stores
            ("s3://bucket/{}", "gs://...", "azure-blob://...") are not
        model: the name of the model, for "model_version"
        exclude: classes without strokes, such as a background
    """

    name: ClassVar[str] = "label_studio"
    summary: ClassVar[str] = "Label Studio tasks with brush strokes; exact but for what was ignored"
    needs_scores: ClassVar[bool] = False

    url: str = "/data/local-files/?d={}"
    model: str = "ca_seg"
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if "{}" not in self.url:
            raise UserError(f"the url {self.url!r} has no {{}}", fix="write {} where the image's name goes")

    def open(self, folder: Path, classes: Sequence[str]) -> LabelStudioWriter:
        output = Output.of(folder, classes)
        return LabelStudioWriter(output, self, class_numbers(self.exclude, output.classes, "exclude"))

    def address(self, file_name: str) -> str:
        """Where Label Studio finds an image."""
        is_object_store = self.url.startswith(("s3://", "gs://", "azure-blob://"))
        return self.url.replace("{}", file_name if is_object_store else quote(file_name))


@dataclass(frozen=True)
class LabelStudioWriter:
    output: Output
    options: LabelStudio
    exclude: frozenset[int]

    def write(self, label: Label) -> list[str]:
        label.check(len(self.output.classes))
        numbers, label_regions = regions(label, (), self.exclude)
        result = [
            {
                "id": f"class-{region.class_index}",
                "type": "brushlabels",
                "from_name": "brush",
                "to_name": "image",
                "image_rotation": 0,
                "original_width": label.width,
                "original_height": label.height,
                "value": {
                    "format": "rle",
                    "rle": brush_rle(numbers == region.number),
                    "brushlabels": [self.output.classes[region.class_index]],
                },
            }
            for region in label_regions
        ]
        prediction: dict[str, Any] = {"model_version": self.options.model, "result": result}
        if label.confidence is not None:
            prediction["score"] = round(float(label.confidence.mean(dtype=np.float64)), 6)
        address = self.options.address(label.file_name)
        self.output.piece(label, {"data": {"image": address}, "predictions": [prediction]})
        return []

    def close(self) -> list[str]:
        tasks = (piece for _, piece in self.output.pieces())
        return [
            self.output.stream_list("tasks.json", tasks),
            self.output.stream_lines("label_config.xml", self._config()),
        ]

    def _config(self) -> Iterator[str]:
        yield '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        yield '  <BrushLabels name="brush" toName="image">\n'
        for name, rgb in zip(self.output.classes, voc_colours(len(self.output.classes)).tolist(), strict=True):
            yield f'    <Label value={quoteattr(name)} background="#{bytes(rgb).hex()}"/>\n'
        yield "  </BrushLabels>\n</View>\n"
