"""Independent readers of each format: pycocotools, PIL, OpenCV, ElementTree, or a loop after its documentation.

A reader returns the mask of one image, with 255 for pixels without a label. Each format must have a reader here.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import cv2
import numpy as np
import yaml
from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from ca_seg.labelling.label import Label


def png(folder: Path, label: Label) -> np.ndarray:
    with Image.open(folder / "masks" / f"{label.key}.png") as image:
        assert image.mode == "P"
        return np.array(image)


def coco(folder: Path, label: Label) -> np.ndarray:
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO(str(folder / "annotations.json"))
    (image,) = (image for image in dataset.imgs.values() if image["file_name"] == label.file_name)
    mask = np.full((image["height"], image["width"]), 255, np.uint8)
    for annotation in dataset.imgToAnns[image["id"]]:
        pixels = dataset.annToMask(annotation).astype(bool)
        rows, columns = np.nonzero(pixels)
        left, top, width, height = annotation["bbox"]
        assert (left, top) == (columns.min(), rows.min())
        assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)
        assert annotation["area"] == pixels.sum()
        assert annotation["score"] == round(float(label.confidence[pixels].mean(dtype=np.float64)), 6)
        assert (mask[pixels] == 255).all()
        mask[pixels] = annotation["category_id"] - 1
    return mask


def coco_panoptic(folder: Path, label: Label) -> np.ndarray:
    content = json.loads((folder / "panoptic.json").read_text(encoding="utf-8"))
    (image,) = (image for image in content["images"] if image["file_name"] == label.file_name)
    (annotation,) = (item for item in content["annotations"] if item["image_id"] == image["id"])
    with Image.open(folder / "panoptic" / annotation["file_name"]) as image:
        assert image.mode == "RGB"
        red, green, blue = np.array(image).astype(int).transpose(2, 0, 1)
    ids = red + 256 * green + 256**2 * blue
    segments = {segment["id"]: segment for segment in annotation["segments_info"]}
    assert set(segments) | {0} == set(np.unique(ids).tolist()) | {0}
    mask = np.full(ids.shape, 255, np.uint8)
    for number, segment in segments.items():
        assert segment["area"] == (ids == number).sum()
        mask[ids == number] = segment["category_id"] - 1
    return mask


def yolo(folder: Path, label: Label) -> np.ndarray:
    """As Ultralytics: the last folder "images" becomes "labels"; float32 fractions of the size, truncated to int32."""
    image = f"{folder}/images/{label.key}"
    file = Path("/labels/".join(image.rsplit("/images/", 1)) + ".txt")
    names = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))["names"]
    mask = np.full((label.height, label.width), 255, np.uint8)
    for line in file.read_text().splitlines():
        values = np.array(line.split(), np.float32)
        assert len(values) >= 7
        assert values[0] in names
        assert (values[1:] > 0).all()
        assert (values[1:] < 1).all()
        points = values[1:].reshape(-1, 2) * np.array([label.width, label.height], np.float32)
        pixels = np.zeros(mask.shape, np.uint8)
        cv2.fillPoly(pixels, [points.astype(np.int32)], 1)
        assert (mask[pixels == 1] == 255).all()
        mask[pixels == 1] = int(values[0])
    return mask


def detectron2(folder: Path, label: Label) -> np.ndarray:
    dicts = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    (entry,) = (item for item in dicts if item["file_name"] == label.file_name)
    assert (entry["height"], entry["width"], entry["image_id"]) == (label.height, label.width, label.key)
    with Image.open(folder / entry["sem_seg_file_name"]) as image:
        return np.array(image.convert("L"))  # as detectron2 reads it


def mmseg(folder: Path, label: Label) -> np.ndarray:
    meta = json.loads((folder / "dataset_meta.json").read_text(encoding="utf-8"))
    assert label.ending in meta["img_suffixes"]
    assert label.key in (folder / "splits" / f"{label.ending[1:]}.txt").read_text(encoding="utf-8").split("\n")
    return cv2.imdecode(np.fromfile(folder / "ann_dir" / f"{label.key}.png", np.uint8), cv2.IMREAD_UNCHANGED)


def labelme(folder: Path, label: Label) -> np.ndarray:
    """As labelme: PIL draws polygons with their outline; the box of a mask includes both corners."""
    content = json.loads((folder / f"{label.key}.json").read_text(encoding="utf-8"))
    assert (content["imageHeight"], content["imageWidth"]) == (label.height, label.width)
    names = (folder / "labels.txt").read_text(encoding="utf-8").split("\n")
    mask = np.full((label.height, label.width), 255, np.uint8)
    for shape in content["shapes"]:
        pixels = Image.new("L", (label.width, label.height))
        if shape["shape_type"] == "polygon":
            ImageDraw.Draw(pixels).polygon([tuple(point) for point in shape["points"]], outline=1, fill=1)
        else:
            (left, top), (right, bottom) = np.array(shape["points"]).astype(int)
            part = Image.open(io.BytesIO(base64.b64decode(shape["mask"])))
            assert part.size == (right - left + 1, bottom - top + 1)
            pixels.paste(part, (left, top))
        inside = np.array(pixels) == 1
        assert (mask[inside] == 255).all()
        mask[inside] = names.index(shape["label"])
    return mask


def label_studio(folder: Path, label: Label) -> np.ndarray:
    tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    (task,) = (task for task in tasks if unquote(task["data"]["image"]).endswith("?d=" + label.file_name))
    config = ElementTree.parse(folder / "label_config.xml")
    names = [element.attrib["value"] for element in config.iter("Label")]
    mask = np.full((label.height, label.width), 255, np.uint8)
    for stroke in task["predictions"][0]["result"]:
        pixels = brush_mask(stroke["value"]["rle"], stroke["original_height"], stroke["original_width"])
        mask[pixels] = names.index(stroke["value"]["brushlabels"][0])
    return mask


def cvat(folder: Path, label: Label) -> np.ndarray:
    root = ElementTree.parse(folder / "annotations.xml").getroot()
    names = [element.text for element in root.findall("./meta/task/labels/label/name")]
    (image,) = (image for image in root.findall("image") if image.attrib["name"] == label.file_name)
    mask = np.full((int(image.attrib["height"]), int(image.attrib["width"])), 255, np.uint8)
    for element in image.findall("mask"):
        left, top, width, height = (int(element.attrib[name]) for name in ("left", "top", "width", "height"))
        position, inside = 0, False
        for count in map(int, element.attrib["rle"].split(",")):
            for pixel in range(position, position + count):
                if inside:
                    assert mask[top + pixel // width, left + pixel % width] == 255
                    mask[top + pixel // width, left + pixel % width] = names.index(element.attrib["label"])
            position, inside = position + count, not inside
        assert position == width * height
    return mask


def scores(folder: Path, label: Label) -> np.ndarray:
    """Files of scores do not store masks, so the scores are compared here and the label's mask is returned."""
    with np.load(folder / "scores" / f"{label.key}.npz", allow_pickle=False) as content:
        stored = content["scores"]
    assert stored.dtype == np.float16
    assert (abs(stored.astype(np.float64) - label.scores) <= np.maximum(2.0**-11 * label.scores, 2.0**-25)).all()
    return label.mask


def brush_mask(code: list[int], height: int, width: int) -> np.ndarray:
    """A brush stroke, read bit by bit as thi.ng's rle-pack describes it; its alpha channel as bool [H, W]."""
    text = "".join(f"{byte:08b}" for byte in code)
    position = 0

    def read(bits: int) -> int:
        nonlocal position
        position += bits
        return int(text[position - bits : position], 2)

    total, word, sizes = read(32), read(5) + 1, []
    for _ in range(4):
        sizes.append(read(4) + 1)
    values: list[int] = []
    while len(values) < total:
        repeated, size = read(1), sizes[read(2)]
        length = read(size) + 1
        values += [read(word)] * length if repeated else [read(word) for _ in range(length)]
    assert total == len(values) == height * width * 4
    pixels = np.array(values).reshape(height, width, 4)
    assert np.isin(pixels, (0, 255)).all()
    assert (pixels == pixels[:, :, :1]).all()
    return pixels[:, :, 3] == 255


READERS = {
    reader.__name__: reader
    for reader in (png, coco, coco_panoptic, yolo, detectron2, mmseg, labelme, label_studio, cvat, scores)
}
