"""Training of a head on the features of a frozen source.

image   ──► source (frozen, eval, not in the checkpoint) ─┐
or its features from the cache ───────────────────────────┴─► features ──► head ──► logits ──► loss
"""

from __future__ import annotations

import math
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ca_seg.data.datamodule import SegmentationData
from ca_seg.data.seeds import image_seed
from ca_seg.errors import OutOfRange, UserError
from ca_seg.features.frozen_module import Frozen
from ca_seg.features.source import FeatureSource
from ca_seg.heads.trained import TrainedHead
from ca_seg.metrics.confusion import ConfusionMatrix, miou, pixel_accuracy
from ca_seg.tasks.losses import SegmentationLoss
from ca_seg.vocabulary import IGNORE_INDEX

FIGURES = ("miou", "pixel_accuracy")
RESUME = "train with a smaller model.lr; with resume=true it continues from the last complete epoch"


class Probe(Frozen[FeatureSource], pl.LightningModule):
    """Trains a head on the features of `source`, which stays frozen and is not in `state_dict()`.

    The optimiser is AdamW. The learning rate rises over `warmup_steps` and then falls to zero along a cosine (the
    protocol of DINOv2, Oquab et al. 2023). Batches in which every pixel is void are passed over. When the loss becomes
    infinite or NaN, a UserError names the images. `skipped` has the images that could not be used.

    Args:
        source: gives the features
        trained: the head that is trained; its parameters are the only ones
        loss: what is minimised
        lr: highest learning rate
        weight_decay: of AdamW
        warmup_steps: 0 or more, below the number of steps
        ema: decay of a moving average of the weights, between 0 and 1, which moves once for each step of the optimizer;
            the average is what is scored and saved
        seed: of the noise
    """

    def __init__(
        self,
        source: FeatureSource,
        trained: TrainedHead,
        *,
        loss: SegmentationLoss,
        lr: float = 1e-3,
        weight_decay: float = 1e-3,
        warmup_steps: int = 0,
        ema: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(source)
        if ema is not None and not 0 < ema < 1:
            raise OutOfRange(f"an average of the weights with decay {ema}", allowed="above 0, below 1, or none")
        self.trained = trained
        self.averaged = None
        if ema is not None:
            self.averaged = AveragedModel(trained, multi_avg_fn=get_ema_multi_avg_fn(ema), use_buffers=True)
            self.averaged.requires_grad_(False)
        self.confusion = ConfusionMatrix(len(trained.vocabulary.classes))
        self.loss, self.lr, self.weight_decay, self.warmup_steps = loss, lr, weight_decay, warmup_steps
        self.seed = seed
        self.figures: dict[str, float] | None = None  # of the weights as they are; None until they are validated
        self.skipped: dict[str, str] = {}  # the reason by path
        self._steps = 1  # of the whole training

    @property
    def result(self) -> TrainedHead:
        """The head that training gives: the average of the weights if there is one."""
        return self.trained if self.averaged is None else cast(TrainedHead, self.averaged.module)

    def features(self, batch: dict[str, Any]) -> torch.Tensor:
        """[B, channels, h, w]: those in the batch, or else computed from its images."""
        if "features" in batch:
            return batch["features"]
        return self.source(batch["image"], [image_seed(self.seed, image_id) for image_id in batch["image_id"]])

    def training_step(self, batch: dict[str, Any], batch_index: int) -> torch.Tensor | None:
        self._note_skipped(batch)
        mask = batch["mask"]
        if not batch["image_id"] or bool((mask == IGNORE_INDEX).all()):
            return self._empty_step()
        features, mask = self.trained.head.for_training(self.features(batch), mask)
        if self.loss.at == "tokens":
            logits = self.trained.head.tokens(features)
        else:
            logits = self.trained(features, (mask.shape[1], mask.shape[2]))
        loss = self.loss(logits, mask, batch.get("weight"))
        if not bool(loss.isfinite()):
            raise UserError(
                f"the loss became {float(loss.detach())} at step {self.global_step}, {self._cause(batch, features)}",
                fix=RESUME,
            )
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(batch["image_id"]))
        return loss

    def on_train_start(self) -> None:
        """A resumed training gets the optimizer's state from its checkpoint, and the options from its settings."""
        schedule = cast(torch.optim.lr_scheduler.LambdaLR, self.lr_schedulers())
        schedule.base_lrs = [self.lr]
        for group in schedule.optimizer.param_groups:
            group["initial_lr"], group["weight_decay"] = self.lr, self.weight_decay
            group["lr"] = self.lr * self._lr_factor(schedule.last_epoch, self._steps)

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        self.figures = None

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        super().optimizer_step(*arguments, **options)
        learned = any(parameter.grad is not None for parameter in self.trained.parameters())
        if self.averaged is not None and learned:  # no gradient: every batch since the last step was void
            self.averaged.update_parameters(self.trained)

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        self._note_skipped(batch)
        if batch["image_id"]:
            height, width = batch["mask"].shape[1:]
            logits = self.result(self.features(batch), (height, width))
            self.confusion.update(logits.argmax(dim=1), batch["mask"])

    def on_validation_epoch_end(self) -> None:
        matrix = self.confusion.compute()
        scored = bool(matrix.sum())
        if self.trainer.sanity_checking and not scored:  # Lightning tries two batches before it trains
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            scored = isinstance(data, SegmentationData) and data.has_ground_truth()
        if not scored:
            reason = next(iter(self.skipped.values()), "every pixel of the masks is void")
            raise UserError(f"no image could be scored: {reason}", fix="check the images, their masks and the cache")
        self.confusion.reset()
        if self.trainer.sanity_checking:
            return
        self.figures = dict(zip(FIGURES, (float(miou(matrix)), float(pixel_accuracy(matrix))), strict=True))
        figures = {f"val/{name}": value for name, value in self.figures.items()}
        self.log_dict(figures, prog_bar=True, logger=self.trainer.state.fn == TrainerFn.FITTING)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to replace a good checkpoint by one with weights that are not finite."""
        broken = [name for name, value in self.state_dict().items() if not bool(value.isfinite().all())]
        if broken:
            raise UserError(
                f"{broken[0]} of the head is not finite at step {self.global_step}",
                fix=RESUME,
            )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch.optim.AdamW(self.trained.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        steps = self._steps = max(1, int(self.trainer.estimated_stepping_batches))
        if self.warmup_steps >= steps:
            raise OutOfRange(f"{self.warmup_steps} warm-up steps of {steps}", allowed=f"0 to {steps - 1}")
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._lr_factor(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _lr_factor(self, step: int, steps: int) -> float:
        """The learning rate of a step as a fraction of the highest: a line up, then half a cosine down."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        progress = (step - self.warmup_steps) / (steps - self.warmup_steps)
        return (1 + math.cos(math.pi * min(1.0, progress))) / 2

    def _empty_step(self) -> torch.Tensor | None:
        """A step without a pixel to learn from: none in a single process; among several, all must take part."""
        if self.trainer.world_size == 1:
            return None
        return sum((p.sum() for p in self.trained.parameters()), torch.zeros((), device=self.device)) * 0.0

    def _cause(self, batch: dict[str, Any], features: torch.Tensor) -> str:
        """Which images are behind a loss that is not finite."""
        bad = [path for path, tokens in zip(batch["path"], features, strict=True) if not bool(tokens.isfinite().all())]
        return f"features of {bad[0]} are not finite" if bad else f"in the batch of {', '.join(batch['path'][:3])}"

    def _note_skipped(self, batch: dict[str, Any]) -> None:
        self.skipped.update({skipped.path: skipped.reason for skipped in batch["skipped"]})
