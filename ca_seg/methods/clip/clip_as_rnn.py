"""CLIP-as-RNN: CLIP proposes a mask for each phrase, CLIP looks at the masks, and phrases that it does not see go.

    phrases ──► proposals (gradcam.py) ──► each marked in the image (ellipse, blur) ──► probability of the phrase
       ▲                                                                                              │
       └──────────────────────── those above the threshold, or else the best ◄────────────────────────┘

It repeats until no phrase drops out, at least twice (Sun et al. 2024, algorithm 1). The maps are the last proposals, 0
for phrases that dropped out. A background class, where there is one, is 1 minus the highest other map, as in the
authors' input to their dense CRF; the CRF itself is left out (`refine` has PAMR and others).

As in the released code: the second look skips the encoder's last block, the probabilities of the templates are summed
and go through a second softmax, and from the second round on proposals are of "a clean origami {}.".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from ca_seg.backbones.images import resize_maps, working_size
from ca_seg.methods.card import MethodCard
from ca_seg.methods.clip.encoders import VIT_B_16, VIT_L_14, ClipEncoders, open_encoders
from ca_seg.methods.clip.gradcam import last_block_call, proposals
from ca_seg.methods.clip.patches import hidden_input
from ca_seg.methods.foreground import background_index
from ca_seg.methods.image_size import check_image_size
from ca_seg.methods.inputs import MethodInputs
from ca_seg.vocabulary import Vocabulary

BOX_THRESHOLD = 0.4
MASK_THRESHOLD = 0.4
CONFIDENCE = 0.6
LARGEST = 512  # pixels of the short side; larger images are scaled down
FIRST_ROUND, LATER_ROUNDS = "{}", "a clean origami {}."
# the authors' configuration for Pascal VOC
BACKGROUND_WORDS = (
    *("ground", "land", "grass", "tree", "building", "wall", "sky", "lake", "water", "river", "sea", "railway"),
    *("railroad", "helmet", "cloud", "house", "mountain", "ocean", "road", "rock", "street", "valley", "bridge"),
)
LOOK_TEMPLATES = (
    *("a clean origami {}.", "a photo of a {}.", "This is a photo of a {}"),
    *("There is a {} in the scene", "There is the {} in the scene", "a photo of a {} in the scene"),
    *(f"a photo of a {size} {{}}." for size in ("small", "medium", "large")),
    *(f"This is a photo of a {size} {{}}." for size in ("small", "medium", "large")),
    *(f"There is a {size} {{}} in the scene." for size in ("small", "medium", "large")),
)

CARD = MethodCard(
    name="clip-as-rnn",
    summary="CLIP's GradCAM masks, which CLIP looks at again until every phrase left is seen in its mask.",
    paper="Sun et al. 2024, CLIP as RNN: Segment Countless Visual Concepts without Training (arXiv 2312.07661)",
    kind="CLIP",
    words="free",
    takes="model",
    weights=(VIT_B_16, VIT_L_14),
    options=("tokenizer", "resolution"),
)


@dataclass(frozen=True)
class ClipAsRnn:
    """Class maps by repeated looks.

    Args:
        clip: proposes masks
        viewer: looks at the masks
        resolution: pixels of the short side; None: the image's own, at most LARGEST
    """

    clip: ClipEncoders
    viewer: ClipEncoders
    resolution: int | None
    needs_ground_truth = False

    def settings(self) -> dict[str, Any]:
        """For results.json."""
        return {
            "model": self.clip.architecture,
            "viewer": self.viewer.architecture,
            "resolution": self.resolution,
            "box_threshold": BOX_THRESHOLD,
            "mask_threshold": MASK_THRESHOLD,
            "confidence": CONFIDENCE,
        }

    def check_words(self, vocabulary: Vocabulary) -> None:
        """Raises UserError for words that are too long."""
        for clip, templates in ((self.clip, (LATER_ROUNDS,)), (self.viewer, LOOK_TEMPLATES)):
            replace(clip, templates=templates).check_phrases(vocabulary.concepts)

    def predict(
        self,
        images: Tensor,
        seeds: Sequence[int],
        ground_truth: Callable[[int], Tensor] | None = None,
    ) -> Looks:
        check_image_size(images, CARD.name, self.clip.patch)
        height, width = images.shape[-2:]
        size = working_size(height, width, self.resolution or min(LARGEST, height, width), 1)
        if size != (height, width):
            images = interpolate(images, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        return Looks(self, images)

    def phrase_maps(self, image: Tensor, phrases: Sequence[str], background: Sequence[str]) -> Tensor:
        """Maps [C, H, W] of phrases in one image [1, 3, H, W]: 0 for those that dropped out."""
        height, width = image.shape[-2:]
        patch = self.clip.patch
        size = (-(-height // patch) * patch, -(-width // patch) * patch)
        whole = interpolate(image, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        rivals = self.clip.phrase_vectors(background, [LATER_ROUNDS]) if background else None
        left, template = list(range(len(phrases))), FIRST_ROUND
        while True:
            words = self.clip.phrase_vectors([phrases[index] for index in left], [template])
            rival_vectors = words.new_zeros(0, words.shape[1]) if rivals is None else rivals
            cams = proposals(self.clip, whole, words, rival_vectors, BOX_THRESHOLD)
            cams = resize_maps(cams[None], height, width)[0]
            confidence = self.confidence(image, cams, [phrases[index] for index in left])
            kept = (confidence > CONFIDENCE).nonzero().flatten().tolist() or [int(confidence.argmax())]
            if len(kept) == len(left) and template == LATER_ROUNDS:
                maps = cams.new_zeros(len(phrases), height, width)
                maps[left] = cams
                return maps
            left, template = [left[index] for index in kept], LATER_ROUNDS

    def confidence(self, image: Tensor, cams: Tensor, phrases: Sequence[str]) -> Tensor:
        """How probable each phrase is for the image in which its mask is marked.

        Args:
            image: [1, 3, H, W] in 0..1
            cams: the phrases' proposals [C, H, W]
            phrases: C texts

        Returns:
            [C], 0..1
        """
        vectors = torch.cat([look(self.viewer, marked(image, cam)) for cam in cams])
        scale = self.viewer.model.logit_scale.exp().detach().float()
        words = torch.stack([self.viewer.sentence_vectors(phrases, template) for template in LOOK_TEMPLATES])
        each_template = (scale * vectors @ words.transpose(1, 2)).softmax(dim=-1)
        return each_template.sum(dim=0).softmax(dim=-1).diagonal()


def marked(image: Tensor, cam: Tensor) -> Tensor:
    """An image [1, 3, H, W] with a red ellipse around the mask cam > MASK_THRESHOLD, and blurred outside of it."""
    import cv2

    mask = (cam > MASK_THRESHOLD).cpu().numpy()
    if cam.sum() <= 1 or not mask.any():
        return image
    pixels = np.ascontiguousarray((image[0] * 255).round().byte().permute(1, 2, 0).cpu().numpy())
    pixels = np.where(mask[..., None], pixels, cv2.GaussianBlur(pixels, (15, 15), 0))
    rows, columns = np.nonzero(mask)
    axes = (int(np.ptp(columns) + 1) // 2, int(np.ptp(rows) + 1) // 2)
    cv2.ellipse(pixels, (int(columns.mean()), int(rows.mean())), axes, 0, 0, 360, (255, 0, 0), 1)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].to(image) / 255


@torch.no_grad()
def look(clip: ClipEncoders, image: Tensor) -> Tensor:
    """The unit vector [1, D] of an image's middle square, by all blocks but the last."""
    side, (height, width) = clip.image_size, image.shape[-2:]
    short = side / min(height, width)
    size = (max(side, int(height * short)), max(side, int(width * short)))
    resized = interpolate(image, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    top, left = round((size[0] - side) / 2), round((size[1] - side) / 2)
    call = last_block_call(clip, resized[..., top : top + side, left : left + side])
    state = clip.model.vision_model.post_layernorm(hidden_input(*call)[:, 0])
    return normalize(clip.model.visual_projection(state).float(), dim=-1)


@dataclass(frozen=True)
class Looks:
    """Images that are looked at once the words are known.

    Args:
        predictor: the method
        images: [B, 3, H, W] in 0..1
    """

    predictor: ClipAsRnn
    images: Tensor

    def select(self, image: int) -> Looks:
        return replace(self, images=self.images[image : image + 1])

    @torch.inference_mode(False)  # a GradCAM needs gradients
    @torch.no_grad()
    def maps(self, vocabulary: Vocabulary) -> Tensor:
        """Maps [B, K, H, W] in 0..1; a class has that of its best phrase, a background 1 minus the highest other."""
        background = background_index(vocabulary)
        objects = [index for index in range(len(vocabulary.classes)) if index != background]
        height, width = self.images.shape[-2:]
        maps = torch.zeros(len(self.images), len(vocabulary.classes), height, width)
        phrases = [phrase for index in objects for phrase in vocabulary.phrases[index]]
        rivals = rival_words(phrases, () if background is None else vocabulary.phrases[background])
        for row, image in zip(maps, self.images[:, None], strict=True):
            if not objects:
                continue
            scores = self.predictor.phrase_maps(image, phrases, rivals).cpu()
            parts = scores.split([len(vocabulary.phrases[index]) for index in objects])
            row[objects] = torch.stack([part.amax(dim=0) for part in parts])
        if background is not None:
            maps[:, background] = 1 - maps.amax(dim=1)
        return maps


def rival_words(phrases: Sequence[str], background: Sequence[str]) -> list[str]:
    """The background's phrases and the usual background words, without those that are asked."""
    asked = {phrase.strip().casefold() for phrase in phrases}
    words = {word.strip().casefold(): word for word in (*background, *BACKGROUND_WORDS)}
    return [word for key, word in words.items() if key not in asked]


def open_predictor(inputs: MethodInputs) -> ClipAsRnn:
    """On the model that is given, which then also looks at the masks, or ViT-B/16 and ViT-L/14."""
    import cv2  # noqa: F401  (needed later: what is missing is said before weights are read)

    clip = open_encoders(inputs, CARD, VIT_B_16)
    viewer = clip if inputs.model is not None else open_encoders(inputs, CARD, VIT_L_14)
    return ClipAsRnn(clip, viewer, inputs.resolution)
