"""The formats, by name, each with its default options. A new format is one file and one line here."""

from __future__ import annotations

from ca_seg.labelling.formats.coco import Coco
from ca_seg.labelling.formats.coco_panoptic import CocoPanoptic
from ca_seg.labelling.formats.cvat import Cvat
from ca_seg.labelling.formats.detectron2 import Detectron2
from ca_seg.labelling.formats.label_studio import LabelStudio
from ca_seg.labelling.formats.labelme import LabelMe
from ca_seg.labelling.formats.mmseg import MMSeg
from ca_seg.labelling.formats.png import Png
from ca_seg.labelling.formats.scores import Scores
from ca_seg.labelling.formats.yolo import Yolo
from ca_seg.labelling.label import LabelFormat

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
