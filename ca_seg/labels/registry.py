"""The formats, by name, each with its default options. A new format is one file and one line here."""

from __future__ import annotations

from ca_seg.labels.coco import Coco
from ca_seg.labels.coco_panoptic import CocoPanoptic
from ca_seg.labels.cvat import Cvat
from ca_seg.labels.detectron2 import Detectron2
from ca_seg.labels.label import LabelFormat
from ca_seg.labels.label_studio import LabelStudio
from ca_seg.labels.labelme import LabelMe
from ca_seg.labels.mmseg import MMSeg
from ca_seg.labels.png import Png
from ca_seg.labels.scores import Scores
from ca_seg.labels.yolo import Yolo

FORMATS: dict[str, LabelFormat] = {
    format.name: format
    for format in (
        Png(),
        Coco(),
        CocoPanoptic(),
        Yolo(),
        Detectron2(),
        MMSeg(),
        LabelMe(),
        LabelStudio(),
        Cvat(),
        Scores(),
    )
}
