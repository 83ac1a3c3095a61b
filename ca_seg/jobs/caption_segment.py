"""Segment images by the words of their captions: for users who do not know what their images show.

image ──► captioner ──► "two cats on a sofa" ──► cat, sofa ──► segmenter of these words ──► segmentation, with caption
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.text.caption_words import words_of_caption
from ca_seg.backbones.text.word_list import shipped_table
from ca_seg.captioner import Captioner
from ca_seg.data.inputs import NamedImage
from ca_seg.errors import UserError
from ca_seg.jobs.segmentation import Segmentation

OneImage = Callable[[NamedImage], Segmentation]


class CaptionSegmenter:
    """Segments each image by the nouns of its caption that the word table has.

    Args:
        captioner: gives the captions
        backbone: segments
        by_words: gives the segmenter of some words
        without: words that are not looked for, such as background words
    """

    def __init__(
        self,
        captioner: Captioner,
        backbone: Backbone,
        by_words: Callable[[Sequence[str]], OneImage],
        without: Sequence[str] = (),
    ) -> None:
        self.captioner, self.backbone, self.by_words, self.without = captioner, backbone, by_words, without
        self.table = shipped_table()

    @property
    def decision(self) -> str:
        """Where the words are from, in one line."""
        return f"the words of each image are those of its caption by {self.captioner.name}"

    def __call__(self, image: NamedImage) -> Segmentation:
        """The segmentation of one image. Raises UserError for a caption that names nothing."""
        caption = self.captioner(image.pixels)
        words = [word for word in words_of_caption(caption, self.table) if word not in self.without]
        if not words:
            raise UserError(
                f"the caption of {image.path or image.image_id} names nothing to look for: {caption!r}",
                fix="name words yourself, or take parts without words: ca-seg parts",
            )
        return replace(self.by_words(words)(image), caption=caption, captioner=self.captioner.name)

    def each(self, images: Iterable[NamedImage], skipped: Callable[[UserError], None]) -> Iterator[Segmentation]:
        """Image after image; why one cannot be used is handed to `skipped`, and the others go on."""
        for image in images:
            try:
                yield self(image)
            except UserError as problem:
                skipped(problem)
