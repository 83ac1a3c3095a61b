"""The backend as a model class of label-studio-ml 2, for those who deploy backends with its command and containers.

    label-studio-ml start recipes/label_studio

label-studio-ml 2 is installed from its repository; what PyPI has under this name is an older one. `ca-seg serve
label-studio` needs neither.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from label_studio_ml.model import LabelStudioMLBase

from ca_seg.annotation.label_studio.backend import LabelStudioBackend
from ca_seg.annotation.label_studio.serve import LabelStudioSettings, label_studio_backend


@cache
def backend() -> LabelStudioBackend:
    """Loaded once for all requests, with settings from the environment."""
    return label_studio_backend(
        LabelStudioSettings(
            backbone=os.environ.get("CA_SEG_BACKBONE", "photo"),
            root=os.environ.get("LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"),
            label_studio=os.environ.get("LABEL_STUDIO_URL", "http://localhost:8080"),
        )
    )


class WordBackend(LabelStudioMLBase):
    """Masks by the words of a project's labels."""

    def setup(self) -> None:
        """Called for each request, with the project's configuration."""
        control = backend().check(self.label_config)
        self.set("model_version", backend().model_version(control))

    def predict(self, tasks: list[dict], context: dict | None = None, **kwargs: Any) -> list[dict]:
        """One prediction for each task; `context` holds typed words."""
        return backend().predict(tasks, self.label_config, context)
