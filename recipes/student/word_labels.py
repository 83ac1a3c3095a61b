"""Labels of images of which only the words are known: which classes each image shows, and no mask.

    image, its words ──► class maps of these words ──► mask and confidence ──► uncertain pixels are ignored

The maps have a channel for every class; those of words that an image does not show are 0. So confidence can be fitted
over images with different words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ca_seg.atomic import atomic_write
from ca_seg.confidence.confident_mask import predict_confident_mask
from ca_seg.confidence.fit import FittedConfidence, TargetPrecision, fit_confidence
from ca_seg.confidence.label_quality import LabelQuality
from ca_seg.confidence.pixel_sample import LabelledMaps, PixelSample, labelled_pixels
from ca_seg.confidence.threshold import ignore_below
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.seeds import image_seed
from ca_seg.labelling.formats.png import Png
from ca_seg.labelling.label import Label
from ca_seg.predictors.predictor import Predictor, Refine
from ca_seg.vocabulary import Vocabulary

MEASURE = "margin"
PIXELS = 100_000  # that a fit looks at


@dataclass(frozen=True)
class WordLabeller:
    """Class maps of images from their words.

    Args:
        predictor: the method
        refine: refinement of the maps
        seed: of the noise
    """

    predictor: Predictor
    refine: Refine | None = None
    seed: int = 0

    def read(self, dataset: SegmentationDataset) -> Iterator[LabelledMaps]:
        """Yield image after image. The maps depend on which classes a mask shows, not where; without one: skipped."""
        names = dataset.class_list.names
        for index in range(len(dataset)):
            sample = dataset[index]
            image, mask = sample["image"][None], sample["mask"]
            shown = [c for c in mask.unique().tolist() if c < len(names)]
            if not shown:
                continue
            prediction = self.predictor.predict(image, [image_seed(self.seed, sample["image_id"])])
            maps = prediction.maps(Vocabulary.from_names([names[c] for c in shown])).float().cpu()
            if self.refine is not None:
                maps = self.refine(maps, image, prediction, known=True).clamp_min(0)
            every = maps.new_zeros(1, len(names), *maps.shape[2:])
            every[:, shown] = maps
            yield LabelledMaps(sample["image_id"], sample["path"], every, mask)

    def fit(self, dataset: SegmentationDataset, precision: float) -> FittedConfidence:
        """Temperature and threshold for a wanted precision, from the masks of `dataset`."""
        classes = dataset.class_list.names
        sample = PixelSample(len(classes), len(dataset), PIXELS, self.seed)
        for labelled in self.read(dataset):
            sample.add(labelled)
        return fit_confidence(sample.probabilities, sample.ground_truth, classes, TargetPrecision(precision, MEASURE))

    def quality(self, dataset: SegmentationDataset, temperature: float, threshold: float) -> dict[str, Any]:
        """How good the labels are, by the masks of `dataset`; see `LabelQuality.figures`."""
        classes = len(dataset.class_list)
        quality = LabelQuality(classes, temperature=temperature, measure=MEASURE, thresholds=[threshold] * classes)
        for labelled in self.read(dataset):
            for probabilities, ground_truth in labelled_pixels(labelled):
                quality.update(probabilities, ground_truth)
        return quality.figures()

    def write(
        self, dataset: SegmentationDataset, out: Path, *, temperature: float = 1.0, threshold: float = 0.0
    ) -> None:
        """Label all images, unless that was done before.

        Written as the dataset "folder" reads them: images/, masks/, classes.json, and the split "train" of all images.
        """
        if (out / "splits.json").exists():
            return
        writer, written = Png().open(out, dataset.class_list.names), []
        for labelled in self.read(dataset):
            index, size = dataset.image_ids.index(labelled.image_id), labelled.mask.shape
            label = predict_confident_mask(labelled.maps, *size, measure=MEASURE, temperature=temperature)
            assert label.confidence is not None
            mask = ignore_below(label.mask.numpy(), label.confidence.numpy(), threshold)
            file_name = f"{labelled.image_id}{dataset.image_path(index).suffix}"
            writer.write(Label(labelled.image_id, file_name, *size, mask))
            with atomic_write(out / "images" / file_name) as part:
                part.write_bytes(dataset.image_bytes(index))
            written.append(labelled.image_id)
        writer.close()
        with atomic_write(out / "splits.json") as part:
            part.write_text(json.dumps({"train": written}) + "\n", encoding="utf-8")
