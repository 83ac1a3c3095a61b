"""The rows of the GPU benchmark: what is run for one backbone, and the arithmetic beside it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import torch

from benchmarks.naive_flux import naive_flux
from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.cost.cost import MapCost, on_meta
from ca_seg.backbones.cost.gpus import Gpu
from ca_seg.backbones.cost.operations import Operations
from ca_seg.backbones.families.base import TextTokens
from ca_seg.concept.known_words import KnownWords
from ca_seg.concept.linears import Modulation
from ca_seg.concept.recording import Recording
from ca_seg.vocabulary import Vocabulary

MEASURED, COMPUTED, NO_MEMORY, FAILED = "measured", "computed", "out of memory", "failed"
MANY_WORDS = 1000
LIKELY_SHARE = 0.15  # of a GPU's peak: a row that would run over at this share is not started


@dataclass
class Result:
    """One line of the table. `seconds` are of one run over `images` images; all but the arithmetic only if measured."""

    section: str
    row: str
    status: str = COMPUTED
    reason: str = ""  # why it was not measured
    images: int = 1
    seconds: float | None = None  # the median
    seconds_min: float | None = None
    repetitions: int = 0
    images_per_second: float | None = None
    peak_gib: float | None = None  # of the GPU's memory, weights included
    tflop: float | None = None  # computed from the shapes
    gbyte: float | None = None
    tflop_per_second: float | None = None
    share_of_peak: float | None = None  # of the GPU's operations per second
    share_of_bandwidth: float | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Row:
    """Something to run. `prepare` makes what `run` takes, outside the time that is measured."""

    name: str
    run: Callable[[Any], object]
    operations: Operations | None = None
    images: int = 1
    prepare: Callable[[], Any] = lambda: None

    def result(self, section: str) -> Result:
        """With the arithmetic alone."""
        counted = self.operations
        tflop, gbyte = (None, None) if counted is None else (counted.flops / 1e12, counted.bytes / 1e9)
        return Result(section, self.name, images=self.images, tflop=tflop, gbyte=gbyte)


@dataclass(frozen=True)
class Repetitions:
    """How often a row is run. A compiled model is compiled anew in its first runs, so that it needs more warm-ups."""

    warmups: int = 1
    measured: int = 10


def map_rows(
    backbone: Backbone, cost: MapCost, *, stock: bool, asks: bool, words: int, batches: list[int]
) -> list[Row]:
    """A stock forward pass (with all blocks), record and ask, further asks, whole maps of images in batches."""
    device, rows = str(backbone.device), []
    vocabulary, many = _words(words), _words(MANY_WORDS)
    latents, text, level = _noised(backbone)
    inputs = backbone.family.inputs(backbone.transformer, latents, text, level, backbone.card.guidance)

    def record() -> Any:
        return backbone.record_latents(latents, text, level)

    if stock:
        rows.append(Row("stock forward", lambda _: backbone.transformer(**inputs), cost.stock))
    recorded = cost.record + cost.ask(words)
    rows.append(Row(f"record + ask {words} words", lambda _: record().ask(vocabulary).maps(), recorded))
    if asks:
        for count, asked in ((words, vocabulary), (MANY_WORDS, many)):
            ask = partial(_first_ask, asked)
            rows.append(Row(f"ask {count} words", ask, cost.ask(count), prepare=record))
    for batch in batches:
        side = backbone.card.resolution
        images = torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
        rows.append(Row(f"maps, batch {batch}", _maps(backbone, images, vocabulary), cost.maps(words, batch), batch))
    return rows


def carried_rows(backbone: Backbone, cost: MapCost, words: int) -> list[Row]:
    """FLUX.1 as the reference code reads it: concepts are carried through every block beside the other tokens, with a
    second attention of all queries; and the same stopped at the last layer that maps read."""
    latents, text, level = _noised(backbone)
    inputs = backbone.family.inputs(backbone.transformer, latents, text, level, backbone.card.guidance)
    hidden = torch.zeros(1, words, text.hidden.shape[2], device=latents.device, dtype=latents.dtype)
    assert text.pooled is not None
    concepts = TextTokens(hidden, torch.zeros_like(text.pooled))

    def run(model: Any, move: Callable[[Any], Any], stop: int | None) -> object:
        hidden, ids, guidance = (move(inputs.get(k)) for k in ("hidden_states", "img_ids", "guidance"))
        prompt, pooled, asked, asked_pooled = map(move, (text.hidden, text.pooled, concepts.hidden, concepts.pooled))
        return naive_flux(
            model,
            hidden,
            prompt,
            pooled,
            asked,
            asked_pooled,
            move(level),
            ids,
            guidance=guidance,
            attention=torch.nn.functional.scaled_dot_product_attention,
            full=True,
            stop=stop,
            kept_layers=backbone.card.layers,
        )

    rows = []
    for name, stop in (
        ("concepts carried along", None),
        ("concepts carried along, stopped", max(cost.card.layers) + 1),
    ):
        with cost.passes.counter() as counter:
            run(cost.passes.transformer, on_meta, stop)
        rows.append(Row(name, lambda _, stop=stop: run(backbone.transformer, lambda x: x, stop), counter.counted))
    return rows


def measure(
    row: Row,
    section: str,
    device: str,
    gpu: Gpu | None,
    dtype: torch.dtype,
    deadline: float,
    repetitions: Repetitions = Repetitions(),
) -> Result:
    """Run a row a few times before `deadline` (of time.monotonic); an error of it is in the result."""
    result, left = row.result(section), deadline - time.monotonic()
    likely = 0.0 if gpu is None or row.operations is None else 2 * gpu.seconds(row.operations, dtype) / LIKELY_SHARE
    if left <= likely:
        result.reason = f"{left:.0f} s of the section are left, and this would take about {likely:.1f} s"
        return result
    on_gpu = device.startswith("cuda")
    try:
        state = row.prepare()
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        seconds: list[float] = []
        for number in range(repetitions.warmups + repetitions.measured):
            start = time.perf_counter()
            row.run(state)
            if on_gpu:
                torch.cuda.synchronize()
            taken = time.perf_counter() - start
            if number >= repetitions.warmups:
                seconds.append(taken)
            if time.monotonic() + taken > deadline:
                break
    except torch.OutOfMemoryError as problem:
        result.status, result.reason = NO_MEMORY, str(problem).splitlines()[0]
        return result
    except Exception as problem:  # a row must not end the others; what went wrong is in the table
        result.status, result.reason = FAILED, f"{type(problem).__name__}: {str(problem).splitlines()[0:1]}"
        return result
    if not seconds:
        result.reason = f"the time of the section ended in its warm-up (the last run took {taken:.1f} s)"
        return result
    _add_times(result, seconds, row, gpu, dtype)
    result.peak_gib = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None
    return result


def _add_times(result: Result, seconds: list[float], row: Row, gpu: Gpu | None, dtype: torch.dtype) -> None:
    result.status, result.repetitions = MEASURED, len(seconds)
    result.seconds, result.seconds_min = statistics.median(seconds), min(seconds)
    result.images_per_second = row.images / result.seconds
    if row.operations is not None:
        result.tflop_per_second = row.operations.flops / result.seconds / 1e12
        if gpu is not None:
            result.share_of_peak = row.operations.flops / result.seconds / gpu.peak(dtype)
            result.share_of_bandwidth = row.operations.bytes / result.seconds / gpu.bandwidth


def _first_ask(vocabulary: Vocabulary, recording: Recording) -> object:
    """An ask that computes its modulation, as the arithmetic counts it; later ones of a recording leave it out."""
    return replace(recording, modulation=Modulation()).ask(vocabulary)


def _maps(backbone: Backbone, images: torch.Tensor, vocabulary: Vocabulary) -> Callable[[Any], object]:
    """Images to maps, with words that are known beforehand, as every job does."""
    known = KnownWords((vocabulary,), backbone.card.space)
    return lambda _: backbone.record(images, seed=[0] * len(images), known=known).ask(vocabulary).maps()


def _noised(backbone: Backbone) -> tuple[torch.Tensor, TextTokens, torch.Tensor]:
    """Random latents of one image in the card's resolution, an empty prompt, and the timestep."""
    side, device, dtype = backbone.card.resolution, backbone.device, backbone.dtype
    latents = backbone.encode(torch.rand(1, 3, side, side))
    text = backbone.text.prompt([""]).each(lambda x: x.to(device, dtype))
    return latents, text, torch.tensor([0.5], device=device, dtype=dtype)


def _words(count: int) -> Vocabulary:
    return Vocabulary.from_names([f"word {number}" for number in range(count)])
