"""A small network without any backbone of ca_seg, trained on images and masks: what labels are generated for."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.base import SegmentationHead

from ca_seg.backbones.images import resize_out
from ca_seg.data.datamodule import SegmentationData
from ca_seg.errors import UserError
from ca_seg.features.efficientnet import EfficientNetLite0
from ca_seg.metrics.confusion import ConfusionMatrix, miou, pixel_accuracy
from ca_seg.tasks.losses import token_cross_entropy
from ca_seg.vocabulary import IGNORE_INDEX

CHANNELS = (64, 48, 32, 24, 16)  # of the decoder, coarse to fine
MULTIPLE = 32  # what SMP's encoders need of a side


class Student(pl.LightningModule):
    """SMP's U-Net on a MobileNetV3 from scratch or an EfficientNet-Lite0 of ImageNet; cross entropy, AdamW, a cosine.

    From scratch, images are halved in size before the network, and its logits are enlarged bilinearly: a quarter of the
    work. A pretrained encoder sees them in the size of its pretraining, and learns at a fifth of the rate.

    Args:
        classes: K
        lr: highest learning rate, of the decoder
        pretrained: the encoder is EfficientNet-Lite0 with the weights of ImageNet, as networks are usually begun
    """

    def __init__(self, classes: int, *, lr: float = 2e-3, pretrained: bool = False) -> None:
        super().__init__()
        encoder = "tu-tf_efficientnet_lite0" if pretrained else "tu-mobilenetv3_small_100"
        self.network = smp.Unet(encoder, encoder_weights=None, decoder_channels=CHANNELS)
        if pretrained:
            layers = self.network.encoder.model.state_dict()  # the published network without its classifier
            published = EfficientNetLite0().network.state_dict()
            self.network.encoder.model.load_state_dict({name: published[name] for name in layers})
        self.network.segmentation_head = SegmentationHead(CHANNELS[-1], classes, kernel_size=1)  # 3 x 3 costs 9 times
        self.confusion = ConfusionMatrix(classes)
        self.lr = lr
        self.encoder_lr = lr / 5 if pretrained else lr
        self.reduction = 1 if pretrained else 2
        self.skipped: dict[str, str] = {}  # the reason by path

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images [B, 3, H, W] in 0..1, of any size, to logits [B, K, H, W]."""
        height, width = images.shape[-2:]
        return resize_out(self.reduced(images), height, width)

    def reduced(self, images: torch.Tensor) -> torch.Tensor:
        """The same divided by `reduction` in size, rounded up."""
        small = torch.nn.functional.avg_pool2d(2 * images - 1, self.reduction, ceil_mode=True)
        height, width = small.shape[-2:]
        edge = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        return self.network(torch.nn.functional.pad(small, edge, mode="replicate"))[..., :height, :width]

    def training_step(self, batch: dict[str, Any], batch_index: int) -> torch.Tensor | None:
        self._note_skipped(batch)
        mask = batch["mask"]
        weight = batch.get("weight")
        counts = mask != IGNORE_INDEX if weight is None else (mask != IGNORE_INDEX) & (weight > 0)
        return token_cross_entropy(self.reduced(batch["image"]), mask, weight) if bool(counts.any()) else None

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        self._note_skipped(batch)
        if batch["image_id"]:
            self.confusion.update(self(batch["image"]).argmax(dim=1), batch["mask"])

    def on_validation_epoch_end(self) -> None:
        matrix = self.confusion.compute()
        self.log_dict({"miou": miou(matrix), "pixel_accuracy": pixel_accuracy(matrix)})
        self.confusion.reset()

    def _note_skipped(self, batch: dict[str, Any]) -> None:
        self.skipped.update({skipped.path: skipped.reason for skipped in batch["skipped"]})

    def configure_optimizers(self) -> dict[str, Any]:
        encoder = list(self.network.encoder.parameters())
        others = [*self.network.decoder.parameters(), *self.network.segmentation_head.parameters()]
        groups = [{"params": encoder, "lr": self.encoder_lr}, {"params": others, "lr": self.lr}]
        optimizer = torch.optim.AdamW(groups, weight_decay=1e-2)
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: (1 + math.cos(math.pi * s / steps)) / 2)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def train_student(
    data: SegmentationData, *, epochs: int, seed: int, pretrained: bool = False, accelerator: str = "cpu"
) -> tuple[Student, dict]:
    """A trained student and its figures on the validation part of `data`, scored once at the end.

    Raises UserError when an image could not be used: students of one table must learn from the same images.
    """
    pl.seed_everything(seed, verbose=False)
    student = Student(len(data.training_set().class_list), pretrained=pretrained)
    trainer = pl.Trainer(
        accelerator=accelerator,
        max_epochs=epochs,
        check_val_every_n_epoch=epochs,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(student, data)
    if student.skipped:
        path, reason = next(iter(student.skipped.items()))
        raise UserError(f"{len(student.skipped)} images could not be used, the first {path}: {reason}")
    return student.eval(), {name: float(trainer.callback_metrics[name]) for name in ("miou", "pixel_accuracy")}
