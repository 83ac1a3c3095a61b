"""Labelling as a Ray Data pipeline, for clusters: ray.actors=8, ray.gpus=1, ray.address=auto.

planned batches ──► Read: files to a batch ──► Predict: labels ──► Write: files ──► this process: the manifest
                    ray.readers                ray.actors          ray.writers

Each stage is a pool of actors. Batches are planned as in any other run, so the bytes are the same. The line of an image
is added to the manifest when its files are written, by this process alone. What Ray repeats after a node was lost
writes the same files again, and no second line. All nodes must see the images and the output folder under the same
paths.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ca_seg.errors import OutOfRange, UserError
from ca_seg.folder_lock import PATIENCE
from ca_seg.labelling.data import UnlabelledImages
from ca_seg.labelling.entry import Entry
from ca_seg.labelling.label_files import LabelFiles, LabelPrediction, concerns_one_image
from ca_seg.labelling.manifest import Manifest
from ca_seg.labelling.run import Labelling
from ca_seg.labelling.run_folder import RunFolder
from ca_seg.labelling.settings import RaySettings
from ca_seg.labelling.task import PseudoLabel

CORES = 0.5  # of a CPU, for each reader and each writer
MAX_BLOCKS = 10_000  # pieces of work that Ray distributes

# Stages exchange rows of bytes, because Ray keeps rows in Arrow tables; `kind` tells what the bytes are.
Row = dict[str, Any]
BATCH, PREDICTION, ENTRY, SKIPPED, FAILED = "batch", "prediction", "entry", "skipped", "failed"


def _row(kind: str, path: str, content: Any) -> Row:
    return {"kind": kind, "path": path, "content": pickle.dumps(content)}


def label_by_ray(
    labelling: Labelling, folder: RunFolder, settings: RaySettings, batch_size: int
) -> tuple[int, list[tuple[str, str]]]:
    """Label what is missing in the folder.

    Returns:
        How many images were labelled, and (image, reason) of those that were skipped.

    Raises:
        UserError: where Ray is missing or cannot be reached, and for what an actor finds wrong
    """
    if batch_size < 1:
        raise OutOfRange(f"batch size {batch_size}", allowed="1 or more")
    images = labelling.images(folder.labelled())
    batches = [{"batch": batch} for batch in images.plan(batch_size)]
    labelled, skipped = 0, list[tuple[str, str]]()
    directory, device = os.getcwd(), "cuda" if settings.gpus else "cpu"
    predict = (directory, labelling, device, settings.cpus, len(images.labelled))
    with Manifest(folder.part(0), folder.fingerprint, patience=PATIENCE) as manifest, _ray(settings) as ray:
        rows = ray.data.from_items(batches, override_num_blocks=min(len(batches), MAX_BLOCKS))
        for stage, arguments, count, cpus, gpus in (
            (Read, (directory, images), settings.readers, CORES, 0),
            (Predict, predict, settings.actors, settings.cpus, settings.gpus),
            (Write, (directory, labelling.files), settings.writers, CORES, 0),
        ):
            pool = ray.data.ActorPoolStrategy(size=count)
            rows = rows.flat_map(stage, fn_constructor_args=arguments, compute=pool, num_cpus=cpus, num_gpus=gpus)
        for row in rows.iter_rows():
            content = pickle.loads(row["content"])
            if row["kind"] == FAILED:
                raise UserError(content)
            if row["kind"] == SKIPPED:
                skipped.append((row["path"], content))
            else:
                manifest.add(content)
                labelled += 1
    return labelled, sorted(skipped)


class Stage(ABC):
    """One step of the pipeline, in an actor. An error of the user travels as a row: Ray wraps what is raised."""

    def __init__(self, directory: str) -> None:
        os.chdir(directory)  # paths in the settings may be relative

    def __call__(self, row: Row) -> list[Row]:
        if row.get("kind") in (SKIPPED, FAILED):
            return [row]
        try:
            return self.step(row)
        except UserError as problem:
            return [_row(FAILED, "", str(problem))]

    @abstractmethod
    def step(self, row: Row) -> list[Row]:
        """The rows that a row of the stage before becomes. Raises UserError for what ends the run."""


class Read(Stage):
    """Reads the images of a batch: indices to an `UnlabelledBatch`."""

    def __init__(self, directory: str, images: UnlabelledImages) -> None:
        super().__init__(directory)
        self.images = images

    def step(self, row: Row) -> list[Row]:
        return [_row(BATCH, "", self.images[list(map(int, row["batch"]))])]


class Predict(Stage):
    """Labels a batch: an `UnlabelledBatch` to the `LabelPrediction` of every image that needs a label.

    Args:
        directory: the current one of the process that started the run
        labelling: the run
        device: of the backbone
        threads: of PyTorch
        labelled: how many images earlier starts of this run have labelled
    """

    def __init__(self, directory: str, labelling: Labelling, device: str, threads: int, labelled: int) -> None:
        super().__init__(directory)
        torch.set_num_threads(threads)
        self.labelling, self.device, self.labelled = labelling, device, labelled
        self.task: PseudoLabel | None = None  # made by the first step, so that an error in it becomes a row
        self.rows: list[Row] = []

    def step(self, row: Row) -> list[Row]:
        if self.task is None:
            self.task = self.labelling.task(self.device, self._save)
            self.task.labelled = self.labelled
        self.rows, self.task.skipped = [], []
        batch = pickle.loads(row["content"])
        batch["image"] = batch["image"].to(self.device)
        with torch.inference_mode():
            self.task.predict_step(batch, 0)
        return self.rows + [_row(SKIPPED, path, reason) for path, reason in self.task.skipped]

    def _save(self, path: str, size: int, predict: Callable[[], LabelPrediction]) -> None:
        self.rows.append(_attempt(PREDICTION, path, predict))


class Write(Stage):
    """Writes a label: a `LabelPrediction` to its files and its `Entry`."""

    def __init__(self, directory: str, files: LabelFiles) -> None:
        super().__init__(directory)
        self.files = files

    def step(self, row: Row) -> list[Row]:
        prediction = pickle.loads(row["content"])
        return [_attempt(ENTRY, row["path"], lambda: self.files.write(prediction))]


def _attempt(kind: str, path: str, make: Callable[[], LabelPrediction | Entry]) -> Row:
    """The result of `make` as a row, or why this image has none. Raises UserError for what ends the run."""
    try:
        return _row(kind, path, make())
    except UserError as problem:
        if not concerns_one_image(problem):
            raise
        return _row(SKIPPED, path, str(problem))


@contextmanager
def _ray(settings: RaySettings) -> Iterator[Any]:
    """Ray, connected; one that is started here ends here. Raises UserError where it is missing or out of reach."""
    try:
        import ray.data
    except ImportError as problem:
        fix = "install it: pip install 'ca-seg[ray]'"
        raise UserError(f"ray.actors needs Ray Data ({problem})", fix=fix) from problem
    cores = settings.actors * settings.cpus + (settings.readers + settings.writers) * CORES
    start_here = settings.address is None
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            settings.address or "local",
            num_cpus=max(os.cpu_count() or 1, math.ceil(cores)) if start_here else None,
            include_dashboard=False if start_here else None,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except (ConnectionError, RuntimeError, ValueError) as problem:
        reason = (str(problem).splitlines() or [repr(problem)])[0]
        raise UserError(f"Ray at {settings.address or 'this machine'} cannot be reached ({reason})") from problem
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # the program's own, in place of Ray's
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # as with Lightning: no hints beside the results
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield ray
    finally:
        ray.shutdown()
