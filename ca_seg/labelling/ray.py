"""Labelling as a Ray Data pipeline, for clusters: `ca-seg label ... --ray.actors 8 --ray.gpus 1 --ray.address auto`.

planned batches ──► Read: files to a batch ──► Ask: maps, decision ──► Write: files ──► this process: the manifest
                    --ray.readers               --ray.actors            --ray.writers

Each stage is so many actors. Batches are planned as in any other run, so the bytes are the same. An image's line comes
into the manifest when its files are written, from this process alone: what Ray does again after a node was lost writes
the same files, and no second line. All nodes must see the images and the output folder under the same paths.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ca_seg.errors import OutOfRange, UserError
from ca_seg.labelling.data import ToLabel
from ca_seg.labelling.entry import Entry
from ca_seg.labelling.label_files import LabelFiles, LabelPrediction, is_one_images
from ca_seg.labelling.manifest import Manifest
from ca_seg.labelling.run import Labelling
from ca_seg.labelling.run_folder import PATIENCE, RunFolder
from ca_seg.labelling.task import PseudoLabel

BESIDE = 0.5  # CPU cores of a reader and of a writer
MOST_BLOCKS = 10_000  # pieces that Ray hands around


@dataclass
class RaySettings:
    """Labelling on a Ray cluster (pip install 'ca-seg[ray]').

    Args:
        actors: copies of the backbone; 0: without Ray
        address: of the cluster, or auto; None: a Ray on this machine, for this run
        gpus: GPUs of each copy; 0: it runs on the CPU
        cpus: CPU cores of each copy
        readers: actors that read images
        writers: actors that encode and write
    """

    actors: int = 0
    address: str | None = None
    gpus: float = 0
    cpus: int = 1
    readers: int = 1
    writers: int = 1

    def check(self) -> None:
        """Raises OutOfRange."""
        for name, lowest in (("actors", 0), ("cpus", 1), ("readers", 1), ("writers", 1)):
            if getattr(self, name) < lowest:
                raise OutOfRange(f"--ray.{name} {getattr(self, name)}", allowed=f"{lowest} or more")
        if not 0 <= self.gpus < math.inf:
            raise OutOfRange(f"--ray.gpus {self.gpus}", allowed="0 or more")


# From stage to stage goes a row of bytes, for Ray keeps rows in Arrow tables; `kind` says what the bytes are.
Row = dict[str, Any]
BATCH, FOUND, ENTRY, SKIPPED, ENDED = "batch", "found", "entry", "skipped", "ended"


def _row(kind: str, path: str, content: Any) -> Row:
    return {"kind": kind, "path": path, "content": pickle.dumps(content)}


def label_by_ray(
    labelling: Labelling, folder: RunFolder, settings: RaySettings, batch_size: int
) -> tuple[int, list[tuple[str, str]]]:
    """How many images were labelled, and (image, reason) of those that were skipped."""
    if batch_size < 1:
        raise OutOfRange(f"batch size {batch_size}", allowed="1 or more")
    images = labelling.images(folder.done())
    batches = [{"batch": batch} for batch in images.plan(batch_size)]
    labelled, skipped = 0, list[tuple[str, str]]()
    place, device = os.getcwd(), "cuda" if settings.gpus else "cpu"
    with Manifest(folder.part(0), folder.fingerprint, patience=PATIENCE) as manifest, _ray(settings) as ray:
        rows = ray.data.from_items(batches, override_num_blocks=min(len(batches), MOST_BLOCKS))
        for stage, given, count, cpus, gpus in (
            (Read, (place, images), settings.readers, BESIDE, 0),
            (Ask, (place, labelling, device, settings.cpus), settings.actors, settings.cpus, settings.gpus),
            (Write, (place, labelling.files), settings.writers, BESIDE, 0),
        ):
            pool = ray.data.ActorPoolStrategy(size=count)
            rows = rows.flat_map(stage, fn_constructor_args=given, compute=pool, num_cpus=cpus, num_gpus=gpus)
        for row in rows.iter_rows():
            content = pickle.loads(row["content"])
            if row["kind"] == ENDED:
                raise UserError(content)
            if row["kind"] == SKIPPED:
                skipped.append((row["path"], content))
            else:
                manifest.add(content)
                labelled += 1
    return labelled, sorted(skipped)


class Stage(ABC):
    """One step of every row, in an actor: an error of the user ends the run as a row, for Ray wraps what is raised."""

    def __init__(self, place: str) -> None:
        os.chdir(place)  # paths in the settings may be relative

    def __call__(self, row: Row) -> list[Row]:
        if row.get("kind") in (SKIPPED, ENDED):
            return [row]
        try:
            return self.step(row)
        except UserError as problem:
            return [_row(ENDED, "", str(problem))]

    @abstractmethod
    def step(self, row: Row) -> list[Row]:
        """What comes of a row of the stage before. Raises UserError for what ends the run."""


class Read(Stage):
    """A batch of indices to an `UnlabelledBatch`."""

    def __init__(self, place: str, images: ToLabel) -> None:
        super().__init__(place)
        self.images = images

    def step(self, row: Row) -> list[Row]:
        return [_row(BATCH, "", self.images[list(map(int, row["batch"]))])]


class Ask(Stage):
    """An `UnlabelledBatch` to a `Found` of every image that is wanted."""

    def __init__(self, place: str, labelling: Labelling, device: str, threads: int) -> None:
        super().__init__(place)
        torch.set_num_threads(threads)
        self.labelling, self.device = labelling, device
        self.task: PseudoLabel | None = None  # made by the first step: what is wrong with it is said in a row
        self.rows: list[Row] = []

    def step(self, row: Row) -> list[Row]:
        if self.task is None:
            self.task = self.labelling.task(self.device, self._keep)
        self.rows, self.task.skipped = [], []
        batch = pickle.loads(row["content"])
        batch["image"] = batch["image"].to(self.device)
        with torch.inference_mode():
            self.task.predict_step(batch, 0)
        return self.rows + [_row(SKIPPED, path, reason) for path, reason in self.task.skipped]

    def _keep(self, path: str, held: int, make: Callable[[], LabelPrediction]) -> None:
        self.rows.append(_attempt(FOUND, path, make))


class Write(Stage):
    """A `Found` to its files and its `Entry`."""

    def __init__(self, place: str, files: LabelFiles) -> None:
        super().__init__(place)
        self.files = files

    def step(self, row: Row) -> list[Row]:
        found = pickle.loads(row["content"])
        return [_attempt(ENTRY, row["path"], lambda: self.files.write(found))]


def _attempt(kind: str, path: str, make: Callable[[], LabelPrediction | Entry]) -> Row:
    """What `make` gives, or why this image has none. Raises UserError where it is not this image's fault."""
    try:
        return _row(kind, path, make())
    except UserError as problem:
        if not is_one_images(problem):
            raise
        return _row(SKIPPED, path, str(problem))


@contextmanager
def _ray(settings: RaySettings) -> Iterator[Any]:
    """Ray, connected; one that is begun here ends here. Raises UserError where it is missing or cannot be reached."""
    try:
        import ray.data
    except ImportError as problem:
        fix = "install it: pip install 'ca-seg[ray]'"
        raise UserError(f"--ray.actors needs Ray Data ({problem})", fix=fix) from problem
    needed = settings.actors * settings.cpus + (settings.readers + settings.writers) * BESIDE
    begun_here = settings.address is None
    try:
        ray.init(
            settings.address or "local",
            num_cpus=max(os.cpu_count() or 1, math.ceil(needed)) if begun_here else None,
            include_dashboard=False if begun_here else None,
            logging_level="error",
            log_to_driver=False,
        )
    except (ConnectionError, RuntimeError, ValueError) as problem:
        reason = (str(problem).splitlines() or [repr(problem)])[0]
        raise UserError(f"Ray at {settings.address or 'this machine'} cannot be reached ({reason})") from problem
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # as with Lightning: no hints beside the results
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield ray
    finally:
        ray.shutdown()
