"""Messages of other libraries that a user can do nothing about.

Each is named by its logger and its words, so that every other message of these libraries is still seen. They appear
where the libraries for quantised weights are installed, whether or not a command uses them.
"""

from __future__ import annotations

import logging

NOISE = {  # logger: a part of the message
    "torch.utils._pytree": "Calling register_constant() on Enum subclasses is deprecated",  # by importing torchao
    "diffusers.quantizers.torchao.torchao_quantizer": "Unable to import `torchao` Tensor objects",
    "torchao": "Skipping import of cpp extensions",
    "bitsandbytes.cextension": "No prebuilt binary for",
    "transformers.integrations.hub_kernels": "`kernels` is either not installed",
}


def silence_import_noise() -> None:
    """Drop the messages of NOISE. Called before the libraries are imported; calling it again changes nothing."""
    for name, words in NOISE.items():
        logger = logging.getLogger(name)
        if not any(isinstance(existing, _Without) for existing in logger.filters):
            logger.addFilter(_Without(words))


class _Without(logging.Filter):
    """Lets every record pass but those that contain `words`."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words

    def filter(self, record: logging.LogRecord) -> bool:
        return self.words not in record.getMessage()
