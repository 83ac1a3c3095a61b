"""Readers of images, masks, classes, and of every dataset in the catalogue."""

from __future__ import annotations

import importlib
import io
import json
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import datasets
from ca_seg.data.catalogue import DATASETS, open_dataset
from ca_seg.data.classes_json import read_classes
from ca_seg.data.inputs import open_images
from ca_seg.data.read import read_image, read_mask, read_size
from ca_seg.data.video.davis import DavisVideo
from ca_seg.data.video.object_words import object_words
from ca_seg.data.video.reader import frame_rate, video_frames
from ca_seg.errors import UserError
from ca_seg.vocabulary_file import read_vocabulary
from tests.data.test_official import WRITERS
from tests.fuzz.reader import Reader

RNG = np.random.default_rng(0)
CLASSES = {"ignore": [0], "classes": {"7": "cat", "151": "grass"}, "kinds": {"7": "object", "151": "stuff"}}
PIXELS = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
SHIPPED = ("scenes", "photographs")  # no user gives their files


def write_images(folder: Path) -> None:
    """One image in each encoding."""
    image, exif = Image.fromarray(PIXELS), Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a text"
    for name, options in {
        "a.jpg": {"exif": exif},
        "b.png": {"exif": exif},
        "c.webp": {"lossless": True},
        "d.tif": {},
        "e.gif": {},
        "f.bmp": {},
    }.items():
        image.save(folder / name, **options)
    image.save(folder / "g.tif", compression="tiff_lzw")
    image.convert("CMYK").save(folder / "h.jpg")
    image.convert("P").save(folder / "i.png", transparency=0)
    Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257).save(folder / "j.png")
    Image.fromarray(PIXELS[..., 0] > 127).save(folder / "k.tif", compression="group4")
    image.save(folder / "l.jpg", progressive=True)
    image.save(folder / "m.gif", save_all=True, append_images=[image, image])
    image.save(folder / "n.ppm")
    for name in ("o.jp2", "p.avif"):
        if Image.registered_extensions().get(f".{name[2:]}") in Image.SAVE:
            image.save(folder / name)


def check_image(image: torch.Tensor) -> None:
    assert (image.dtype, image.ndim, image.shape[0]) == (torch.float32, 3, 3)
    assert image.isfinite().all()
    assert 0 <= image.min() <= image.max() <= 1


def each(folder: Path, read) -> None:
    """Every file read; the last error is raised, so that all of them are tried."""
    problem = None
    for path in sorted(folder.iterdir()):
        try:
            read(path)
        except UserError as error:
            problem = error
    if problem is not None:
        raise problem


def read_one(path: Path) -> None:
    image = read_image(path)
    check_image(image)
    assert read_size(path) == tuple(image.shape[1:]), (read_size(path), image.shape)


def write_masks(folder: Path) -> None:
    ids = Image.fromarray(RNG.choice([0, 7, 151], (6, 9)).astype(np.uint8))
    ids.save(folder / "gray.png")
    palette = ids.convert("P")
    palette.putpalette([v for v in range(256) for _ in range(3)])
    palette.save(folder / "palette.png")
    Image.fromarray(RNG.choice([0, 300], (6, 9)).astype(np.uint16)).save(folder / "deep.png")
    palette.quantize(4).save(folder / "bits.png", bits=2)


def mask_of(path: Path) -> None:
    mask = read_mask(path)
    assert (mask.ndim, mask.dtype) in ((2, np.uint8), (2, np.uint16))


def read_all_images(folder: Path) -> None:
    for image in open_images(str(folder)):
        check_image(image.pixels)


def write_folder(folder: Path) -> None:
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    (folder / "classes.json").write_text(json.dumps(CLASSES))
    (folder / "splits.json").write_text(json.dumps({"val": ["p0", "p1"], "test": ["p1"]}))
    for number in range(2):
        Image.fromarray(PIXELS).save(folder / "images" / f"p{number}.png")
        Image.fromarray(RNG.choice([0, 7, 151], (6, 9)).astype(np.uint8)).save(folder / "masks" / f"p{number}.png")


def write_image_folder(folder: Path) -> None:
    (folder / "a").mkdir()
    Image.fromarray(PIXELS).save(folder / "a" / "0.png")
    Image.fromarray(PIXELS).save(folder / "a" / "1.jpg")
    (folder / "list.txt").write_text("a/0.png\na/1.jpg\n")


def write_shard(folder: Path) -> None:
    with tarfile.open(folder / "0.tar", "w") as tar:
        for name in ("0.jpg", "a/1.png"):
            stream = io.BytesIO()
            Image.fromarray(PIXELS).save(stream, "JPEG" if name.endswith("jpg") else "PNG")
            about = tarfile.TarInfo(name)
            about.size = len(stream.getvalue())
            tar.addfile(about, io.BytesIO(stream.getvalue()))


def write_coco(folder: Path) -> None:
    (folder / "images").mkdir()
    for number in (1, 2):
        Image.fromarray(PIXELS).save(folder / "images" / f"{number}.png")
    polygon, runs = [[1, 1, 6, 1, 6, 5, 1, 5]], {"size": [6, 9], "counts": [10, 4, 40]}
    text = {"size": [6, 9], "counts": ":4X1"}
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 6, "width": 9} for n in (1, 2)],
        "categories": [{"id": 3, "name": "cat"}, {"id": 8, "name": "background"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3, "segmentation": polygon, "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 3, "segmentation": runs, "iscrowd": 1},
            {"id": 3, "image_id": 2, "category_id": 8, "segmentation": text},
        ],
    }
    (folder / "annotations.json").write_text(json.dumps(content))


def write_dicts(folder: Path) -> None:
    write_folder(folder)
    entries = [
        {
            "file_name": f"images/p{n}.png",
            "sem_seg_file_name": f"masks/p{n}.png",
            "height": 6,
            "width": 9,
            "image_id": n,
        }
        for n in range(2)
    ]
    (folder / "dataset.json").write_text(json.dumps(entries))


def write_hugging_face(folder: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "PNG")
    mask = io.BytesIO()
    Image.fromarray(RNG.choice([0, 1], (6, 9)).astype(np.uint8)).save(mask, "PNG")
    features = datasets.Features({"image": datasets.Image(), "annotation": datasets.Image()})
    rows = [
        {"image": {"bytes": stream.getvalue(), "path": None}, "annotation": {"bytes": mask.getvalue(), "path": None}}
    ] * 2
    datasets.disable_progress_bars()
    datasets.Dataset.from_list(rows, features=features).save_to_disk(folder)
    (folder / "classes.json").write_text(json.dumps({"classes": {"0": "cat", "1": "grass"}}))


def write_labelled(folder: Path) -> None:
    write_folder(folder)
    (folder / "png").mkdir()
    (folder / "confidence").mkdir()
    (folder / "masks").rename(folder / "png" / "masks")
    (folder / "classes.json").rename(folder / "png" / "classes.json")
    (folder / "splits.json").unlink()
    for number in range(2):
        Image.fromarray(PIXELS[..., 0]).save(folder / "confidence" / f"p{number}.png")
    (folder / "run.json").write_text(json.dumps({"images": {"name": "images", "folder": "images"}}))
    entries = [{"key": f"p{n}", "image": f"p{n}.png"} for n in range(2)]
    lines = [{"manifest": 2, "fingerprint": "9f"}, *entries]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def read_dataset(folder: Path, *, name: str, splits: tuple[str | None, ...] = (None,), root: str = "") -> None:
    """Everything of a dataset."""
    problem = None
    for split in splits:
        try:
            dataset = open_dataset(name, str(folder / root), split)
        except UserError as error:
            problem = error
            continue
        dataset.fingerprint()
        for index in range(len(dataset)):
            try:
                sample = dataset[index]
                check_image(sample["image"])
                assert sample["mask"].shape == sample["image"].shape[1:]
                known = (sample["mask"] < len(dataset.class_list)) & (sample["mask"] >= 0) | (sample["mask"] == 255)
                assert known.all()
                assert dataset.size(index) == tuple(sample["mask"].shape)
                if "weight" in sample:
                    assert sample["weight"].min() >= 0
                    assert sample["weight"].max() <= 1
            except UserError as error:
                problem = error
            try:
                dataset.image_bytes(index)
                dataset.size(index)
            except UserError as error:
                problem = error
        dataset.image_words()
    if problem is not None:
        raise problem


def read_official(folder: Path, *, name: str) -> None:
    """A miniature has fewer images than the release, so they are not counted."""
    for module in {entry.reader for entry in DATASETS.values() if entry.reader.startswith("benchmarks.")}:
        reader = importlib.import_module(f"ca_seg.data.{module}")
        if hasattr(reader, "COUNTS"):
            reader.COUNTS = dict.fromkeys(reader.COUNTS)
    read_dataset(folder, name=name, splits=("dev",) if name == "msrc" else (None,))


USERS = {  # how each format for users' own images is written, its splits, and what is given as its root
    "folder": (write_folder, (None, "val", "test"), ""),
    "labelled": (write_labelled, (None, "weighted"), ""),
    "images": (write_image_folder, (None,), ""),
    "webdataset": (write_shard, (None,), ""),
    "coco-json": (write_coco, (None,), ""),
    "sem-seg-dicts": (write_dicts, (None,), ""),
    "hugging-face": (write_hugging_face, (None,), ""),
}
DATASET_READERS = [
    *(
        Reader(
            f"dataset-{name}",
            write,
            partial(read_dataset, name=name, splits=splits, root=root),
            follows_links=name != "images",
        )
        for name, (write, splits, root) in USERS.items()
    ),
    Reader(
        "dataset-images-list", write_image_folder, partial(read_dataset, name="images", root="list.txt"), ("list.txt",)
    ),
    *(
        Reader(f"dataset-{name}", write, partial(read_official, name=name), share=0.4)
        for name, write in WRITERS.items()
    ),
]

VOCABULARY = """classes:
  - cat
  - name: grass
    synonyms: [lawn, meadow]
  - name: vehicle
    phrases: [car, truck, bus]
background: grass
template: "a photo of a {}"
"""


def vocabulary_of(folder: Path) -> None:
    vocabulary = read_vocabulary(folder / "words.yaml")
    assert len(vocabulary.classes) == len(vocabulary.phrases) > 0
    assert all(isinstance(phrase, str) and phrase.strip() for phrase in vocabulary.concepts)


def classes_of(folder: Path) -> None:
    classes = read_classes(folder / "classes.json")
    assert len(classes.names) == len(classes.ids) > 0
    assert all(type(number) is int for number in classes.ids + classes.ignore)
    assert classes.to_ids(np.arange(len(classes))).tolist() == list(classes.ids)


def write_davis(folder: Path) -> None:
    WRITERS["davis"](folder)
    (folder / "words.yaml").write_text("bear: {1: bear, 2: fish}\n")


def read_davis(folder: Path) -> None:
    clips = DavisVideo(folder)
    for index in range(len(clips)):
        clips[index]


def words_of(folder: Path) -> None:
    for clip, table in object_words(folder, folder / "words.json", ["bear", "bike"]).items():
        assert isinstance(clip, str)
        assert all(isinstance(word, str) for word in table.values())


def write_video(folder: Path) -> None:
    import av

    with av.open(str(folder / "a.mp4"), "w") as video:
        stream = video.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for _ in range(4):
            frame = av.VideoFrame.from_ndarray(RNG.integers(0, 256, (16, 32, 3), dtype=np.uint8), format="rgb24")
            video.mux(stream.encode(frame))
        video.mux(stream.encode())


def read_video(folder: Path) -> None:
    assert 0 < frame_rate(folder / "a.mp4") < 1e6
    for piece in video_frames(folder / "a.mp4", 2):
        check_image(piece[0])


READERS = [
    Reader("images", write_images, partial(each, read=read_one)),
    Reader("inputs", write_images, read_all_images, follows_links=False),
    Reader("masks", write_masks, partial(each, read=mask_of)),
    Reader("classes", lambda folder: (folder / "classes.json").write_text(json.dumps(CLASSES)), classes_of),
    Reader("vocabulary", lambda folder: (folder / "words.yaml").write_text(VOCABULARY), vocabulary_of),
    Reader(
        "object-words",
        lambda folder: (folder / "words.json").write_text('{"bear": {"1": "bear"}, "bike": {"1": "a", "2": "b"}}'),
        words_of,
    ),
    Reader("video", write_video, read_video),
    Reader("davis-video", write_davis, read_davis, share=0.4),
    *DATASET_READERS,
]
