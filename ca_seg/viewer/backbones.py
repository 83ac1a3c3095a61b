"""The loaded backbones, which all tabs share, and whether another one fits into memory before it is read."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.loading.card import find_card
from ca_seg.backbones.loading.plan import Plan, plan
from ca_seg.errors import UserError
from ca_seg.predictors.settings import BackboneSettings

GIB = 2**30
KEPT = 2  # backbones in memory: two can be compared
SMALLER = ("bf16", "bnb-nf4")  # precisions to try where a backbone does not fit


def key_of(settings: BackboneSettings) -> tuple[Any, ...]:
    """What a loaded backbone depends on."""
    names = ("backbone", "weights", "gguf", "precision", "offload", "resolution", "phrase_pooling")
    return tuple(getattr(settings, name) for name in names)


class Backbones:
    """Loaded backbones; the least recently used is let go. Safe to use from several threads.

    Args:
        device: cpu, cuda, cuda:1 or mps
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.computing = threading.RLock()  # one pass at a time: memory is planned for one
        self._loaded: OrderedDict[tuple[Any, ...], Backbone] = OrderedDict()

    def put(self, settings: BackboneSettings, backbone: Backbone) -> None:
        """A backbone that is loaded already."""
        with self.computing:
            self._loaded[key_of(settings)] = backbone

    def is_ready(self, settings: BackboneSettings) -> bool:
        """Whether `get` gives it at once: it ships with ca_seg, or is loaded."""
        return bool(find_card(settings.backbone).folder) or key_of(settings) in self._loaded

    def get(self, settings: BackboneSettings) -> Backbone:
        """The backbone of the settings. Raises UserError for a large one that is not loaded yet."""
        with self.computing:
            key = key_of(settings)
            if key not in self._loaded:
                if not self.is_ready(settings):
                    fix = "press Load backbone" if self._fits(settings) else self._smaller(settings)
                    raise UserError(f"{settings.backbone} is not loaded. {self.estimate(settings)}", fix=fix)
                self.load(settings)
            self._loaded.move_to_end(key)
            return self._loaded[key]

    def load(self, settings: BackboneSettings) -> Backbone:
        """Reads the weights. Raises UserError where they do not fit, or cannot be had."""
        with self.computing:
            key = key_of(settings)
            if key not in self._loaded:
                if not self._fits(settings):
                    problem = f"{settings.backbone} does not fit. {self.estimate(settings)}"
                    raise UserError(problem, fix=self._smaller(settings))
                while len(self._loaded) >= KEPT:
                    self._loaded.popitem(last=False)
                self._loaded[key] = settings.load(self.device)
            return self._loaded[key]

    def estimate(self, settings: BackboneSettings) -> str:
        """The memory that a backbone takes, computed before anything is loaded, in one sentence."""
        planned = self._plan(settings)
        if planned is None:
            return f"{settings.backbone} ships with ca_seg and is small"
        free = available_bytes(self.device)
        beside = "" if free is None else f"; {free / GIB:.1f} GiB are free on {self.device}"
        return (
            f"It takes at least {planned.peak_bytes / GIB:.1f} GiB in {planned.profile.name} "
            f"(computed, activations come on top){beside}"
        )

    def _plan(self, settings: BackboneSettings) -> Plan | None:
        card = find_card(settings.backbone)
        if not card.architecture:
            return None
        precision = settings.precision or ("fp32" if self.device == "cpu" else "bf16")
        return plan(settings.backbone, precision=precision, resolution=settings.resolution)

    def _fits(self, settings: BackboneSettings) -> bool:
        """Whether the weights fit into what is free, as far as that is known."""
        planned, free = self._plan(settings), available_bytes(self.device)
        return planned is None or free is None or settings.offload != "none" or planned.peak_bytes <= free

    def _smaller(self, settings: BackboneSettings) -> str:
        """What to choose instead of a backbone that does not fit."""
        fitting = [name for name in SMALLER if self._fits(replace(settings, precision=name))]
        return f"choose {'the precision ' + ' or '.join(fitting) + ', or ' if fitting else ''}another backbone"


def available_bytes(device: str) -> int | None:
    """Free memory of the device; None where this system does not say it."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    facts = Path("/proc/meminfo")
    if not facts.is_file():
        return None
    lines = dict(line.split(":", 1) for line in facts.read_text(encoding="utf-8").splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024
