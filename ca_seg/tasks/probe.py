"""Train a head on the features of a frozen source.

image   ──► source (frozen, eval, not in the checkpoint) ─┐
or its features from the cache ───────────────────────────┴─► features ──► head ──► logits ──► loss
"""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ca_seg.data.seeds import image_seed
from ca_seg.errors import OutOfRange, UserError
from ca_seg.features.frozen_module import Frozen
from ca_seg.features.source import FeatureSource
from ca_seg.heads.trained import TrainedHead
from ca_seg.metrics.confusion import ConfusionMatrix, miou, pixel_accuracy
from ca_seg.tasks.losses import SegmentationLoss
from ca_seg.vocabulary import IGNORE_INDEX


class Probe(Frozen[FeatureSource], pl.LightningModule):
    """Only the head has parameters, and only the head (and its average) is in `state_dict()`.

    AdamW; the learning rate rises over `warmup_steps`, then falls to zero along a cosine (DINOv2's protocol). With
    `ema`, an average of the weights is kept beside them, and validated and given away in their place. A batch whose
    every pixel is void is left out. Raises UserError, naming the images, when the loss is not a number.
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
        self.skipped: dict[str, str] = {}  # why, by path

    @property
    def result(self) -> TrainedHead:
        """What training gives: the average of the weights where one is kept."""
        return self.trained if self.averaged is None else self.averaged.module

    def features(self, batch: dict[str, Any]) -> torch.Tensor:
        """[B, channels, h, w]: from the batch where it carries them, else computed."""
        if "features" in batch:
            return batch["features"]
        return self.source(batch["image"], [image_seed(self.seed, image_id) for image_id in batch["image_id"]])

    def training_step(self, batch: dict[str, Any], batch_index: int) -> torch.Tensor | None:
        self._note(batch)
        mask = batch["mask"]
        if not batch["image_id"] or bool((mask == IGNORE_INDEX).all()):
            return self._nothing()
        features, mask = self.trained.head.for_training(self.features(batch), mask)
        if self.loss.at == "tokens":
            logits = self.trained.head.tokens(features)
        else:
            logits = self.trained(features, (mask.shape[1], mask.shape[2]))
        loss = self.loss(logits, mask, batch.get("weight"))
        if not bool(loss.isfinite()):
            raise UserError(
                f"the loss became {float(loss.detach())} at step {self.global_step}, {self._culprits(batch, features)}",
                fix="go on from the last whole epoch with --resume true and a smaller --model.lr",
            )
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(batch["image_id"]))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        if self.averaged is not None:
            self.averaged.update_parameters(self.trained)

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        self._note(batch)
        if batch["image_id"]:
            height, width = batch["mask"].shape[1:]
            logits = self.result(self.features(batch), (height, width))
            self.confusion.update(logits.argmax(dim=1), batch["mask"])

    def on_validation_epoch_end(self) -> None:
        matrix = self.confusion.compute()
        if not bool(matrix.sum()):
            why = next(iter(self.skipped.values()), "every pixel of the masks is void")
            raise UserError(f"no image could be scored: {why}", fix="mend the images, their masks, or the cache")
        self.log_dict({"val/miou": miou(matrix), "val/pixel_accuracy": pixel_accuracy(matrix)}, prog_bar=True)
        self.confusion.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A head that has broken in the very last step must not replace a good one."""
        broken = [name for name, value in self.state_dict().items() if not bool(value.isfinite().all())]
        if broken:
            raise UserError(
                f"{broken[0]} of the head is not finite at step {self.global_step}",
                fix="go on from the last whole epoch with --resume true and a smaller --model.lr",
            )

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(self.trained.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        if self.warmup_steps >= steps:
            raise OutOfRange(f"{self.warmup_steps} warm-up steps of {steps}", allowed=f"0 to {steps - 1}")
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._share(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _share(self, step: int, steps: int) -> float:
        """Of the learning rate: linear up, then half a cosine down."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        gone = (step - self.warmup_steps) / (steps - self.warmup_steps)
        return (1 + math.cos(math.pi * min(1.0, gone))) / 2

    def _nothing(self) -> torch.Tensor | None:
        """Nothing to learn from. Alone a step is left out; among several processes all must take part in it."""
        if self.trainer.world_size == 1:
            return None
        return sum((p.sum() for p in self.trained.parameters()), torch.zeros((), device=self.device)) * 0.0

    def _culprits(self, batch: dict[str, Any], features: torch.Tensor) -> str:
        bad = [path for path, own in zip(batch["path"], features, strict=True) if not bool(own.isfinite().all())]
        return f"features of {bad[0]} are not finite" if bad else f"in the batch of {', '.join(batch['path'][:3])}"

    def _note(self, batch: dict[str, Any]) -> None:
        self.skipped.update({skipped.path: skipped.reason for skipped in batch["skipped"]})
