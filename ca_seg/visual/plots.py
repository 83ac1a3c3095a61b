"""Small plots for pages and reports, as images."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image


def reliability_plot(bins: Sequence[Mapping[str, float]]) -> Image.Image:
    """Accuracy of pixels by confidence, one bar per bin, with the diagonal. Darker bars have more pixels.

    Args:
        bins: each with low, high, pixels, accuracy and confidence
    """
    figure = Figure(figsize=(4, 3.4), dpi=110)
    axes = figure.add_subplot()
    total = sum(b["pixels"] for b in bins)
    for b in bins:
        fraction = b["pixels"] / total
        axes.bar(
            (b["low"] + b["high"]) / 2,
            b["accuracy"],
            width=b["high"] - b["low"],
            color="#1f5fa8",
            alpha=0.15 + 0.85 * min(1.0, 4 * fraction),
            edgecolor="white",
        )
    axes.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--", label="calibrated")
    axes.plot([b["confidence"] for b in bins], [b["accuracy"] for b in bins], color="#b03a2e", marker="o", markersize=3)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
    axes.legend(loc="upper left", frameon=False)
    return _image(figure)


def confusion_plot(matrix: np.ndarray, names: Sequence[str], max_classes: int = 40) -> Image.Image:
    """A confusion matrix, each row as fractions of its sum.

    Args:
        matrix: counts [K, K], rows ground truth
        names: of the K classes
        max_classes: of more classes, those with the most confused pixels are shown
    """
    wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * matrix.diagonal()
    shown = np.sort(np.argsort(-wrong, kind="stable")[:max_classes])
    fractions = matrix[np.ix_(shown, shown)] / np.maximum(matrix[shown].sum(axis=1, keepdims=True), 1)
    side = max(4.0, 0.19 * len(shown) + 1.6)
    figure = Figure(figsize=(side, side), dpi=110)
    axes = figure.add_subplot()
    axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    labels = [names[i] for i in shown]
    axes.set_xticks(range(len(shown)), labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(shown)), labels, fontsize=7)
    axes.set(xlabel="predicted", ylabel="ground truth")
    return _image(figure)


def lines_plot(
    title: str, across: str, up: str, lines: Mapping[str, Sequence[tuple[float, float]]], *, ticks: Sequence[float] = ()
) -> Image.Image:
    """One line of (x, y) points for each name.

    Args:
        title: of the plot
        across: label of the x axis
        up: label of the y axis
        lines: the points of each line, by its name
        ticks: on the x axis
    """
    figure = Figure(figsize=(5.4, 3.6), dpi=110)
    axes = figure.add_subplot()
    for name, points in lines.items():
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", markersize=3, label=name)
    axes.set(title=title, xlabel=across, ylabel=up)
    if ticks:
        axes.set_xticks(list(ticks))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    return _image(figure)


def coverage_plot(
    lines: Mapping[str, Sequence[tuple[float, float]]], *, target: float | None = None, title: str = ""
) -> Image.Image:
    """Precision of labels against coverage: one line of (coverage, precision) for each name.

    Args:
        lines: the points of each line, by its name
        target: a precision to mark
        title: of the plot
    """
    figure = Figure(figsize=(5.4, 3.6), dpi=110)
    axes = figure.add_subplot()
    for name, points in lines.items():
        axes.plot([x for x, _ in points], [y for _, y in points], linewidth=1.6, label=name)
    if target is not None:
        axes.axhline(target, color="black", linewidth=1, linestyle="--", label=f"target: {target:g}")
    axes.set(
        title=title,
        xlim=(0, 1),
        xlabel="coverage: fraction of pixels with a label",
        ylabel="precision: fraction correct",
    )
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    return _image(figure)


def _image(figure: Figure) -> Image.Image:
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(buffer).convert("RGB")
