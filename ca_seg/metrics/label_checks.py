"""Checks of predictions and targets before their labels are counted."""

from __future__ import annotations

from torch import Tensor

from ca_seg.errors import BadMask, UserError


def check_classes(what: str, num_classes: int, ignore_index: int) -> None:
    """Raises UserError for fewer than 1 class, or for a void that is also a class. `what` names the metric."""
    if num_classes < 1:
        raise UserError(f"{what} of {num_classes} classes", allowed="1 or more")
    if 0 <= ignore_index < num_classes:
        raise UserError(
            f"ignore_index {ignore_index} is also a class, so its pixels would never be counted",
            allowed=f"a number outside 0 to {num_classes - 1}",
        )


def check_pair(prediction: Tensor, target: Tensor) -> None:
    """Raises BadMask when the shapes differ, and for labels that are not integers."""
    if prediction.shape != target.shape:
        raise BadMask(
            f"a prediction of shape {tuple(prediction.shape)} for a target of shape {tuple(target.shape)}",
            fix="resize the prediction to the size of the mask before scoring",
        )
    for name, labels in (("prediction", prediction), ("target", target)):
        if labels.is_floating_point() or labels.is_complex():
            raise BadMask(f"a {name} of type {labels.dtype}", allowed="integers", fix="take the argmax of scores")


def check_labels(prediction: Tensor, target: Tensor, num_classes: int, ignore_index: int) -> None:
    """Raises BadMask when one of the labels (without void) lies outside 0..K-1."""
    void = f"void pixels are {ignore_index}; map dataset ids to class indices first"
    check_range("target", target, num_classes, void)
    check_range("prediction", prediction, num_classes, "a prediction must name a class at every pixel")


def counted_pixels(prediction: Tensor, target: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """The pixels whose target is not void.

    Args:
        prediction: integers, any shape; what is predicted on void pixels is not checked
        target: integers, same shape
        num_classes: K
        ignore_index: void

    Returns:
        bool, same shape

    Raises:
        BadMask: when the shapes differ, for labels that are not integers, and for a counted label outside 0..K-1
    """
    check_pair(prediction, target)
    counted = target != ignore_index
    check_labels(prediction[counted], target[counted], num_classes, ignore_index)
    return counted


def check_range(name: str, labels: Tensor, num_classes: int, fix: str) -> None:
    """Raises BadMask when one of the labels lies outside 0..K-1."""
    if labels.numel() == 0:
        return
    low, high = (int(value) for value in labels.aminmax())
    if low < 0 or high >= num_classes:
        wrong = low if low < 0 else high
        raise BadMask(f"the {name} has label {wrong}", allowed=f"0 to {num_classes - 1}", fix=fix)
