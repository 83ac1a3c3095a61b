"""What the catalogue knows of a dataset before its reader is imported."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType


@dataclass(frozen=True)
class DatasetEntry:
    """One line of the catalogue.

    The reader is a module with two names:

        HOW_TO_GET                        how a user comes by the data, or how the folder must look
        open_dataset(name, root, split)   the dataset; `root` is its folder (None for a shipped one)

    Args:
        reader: the module, below ca_seg.data
        summary: what the dataset is, in one line
        shipped: it comes with ca_seg, so that it needs no root
        class_list: a file of benchmarks/class_lists with the synonyms and the background words; "" for none
    """

    reader: str
    summary: str
    class_list: str = ""
    shipped: bool = False

    def module(self) -> ModuleType:
        """The reader. Imported here and not with the catalogue, because readers import torch."""
        return import_module(f"ca_seg.data.{self.reader}")
