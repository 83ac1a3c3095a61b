"""Published peaks of GPUs, and the least time that operations take on one.

    seconds >= max(operations / peak, bytes / bandwidth)

No program reaches a peak. A time computed here is a lower bound and not a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ca_seg.backbones.cost.operations import Operations
from ca_seg.errors import UnknownName

TERA = 10**12
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class Gpu:
    """One model of GPU. Operations per second of its matrix units without sparsity, accumulating in fp32."""

    name: str
    key: str  # a part of the name that the driver gives
    bf16: float  # fp16 has the same
    fp32: float  # outside the matrix units, as torch computes by default
    bandwidth: float  # bytes per second
    memory_gb: int
    source: str

    def peak(self, dtype: torch.dtype) -> float:
        """Operations per second in a type. Quantised weights are computed in bf16 too."""
        return self.fp32 if dtype == torch.float32 else self.bf16

    def seconds(self, operations: Operations, dtype: torch.dtype = torch.bfloat16) -> float:
        """The least time, by the peak or the bandwidth."""
        return max(operations.flops / self.peak(dtype), operations.bytes / self.bandwidth)

    def hours(self, operations: Operations, images: int = 1_000_000, dtype: torch.dtype = torch.bfloat16) -> float:
        """The least GPU-hours for so many images, of which each takes `operations`."""
        return images * self.seconds(operations, dtype) / SECONDS_PER_HOUR


# Compared with public copies of these documents. NVIDIA states some peaks with sparsity only (1,979 for H100 and H200):
# half of them is entered here.
GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("H200", "H200", 989.5 * TERA, 67 * TERA, 4.8 * TERA, 141, "NVIDIA H200 datasheet (SXM)"),
        Gpu("H100", "H100", 989.5 * TERA, 67 * TERA, 3.35 * TERA, 80, "NVIDIA H100 datasheet (SXM)"),
        Gpu("A100", "A100", 312 * TERA, 19.5 * TERA, 2.039 * TERA, 80, "NVIDIA A100 datasheet (80 GB SXM)"),
        Gpu("L40S", "L40S", 362.05 * TERA, 91.6 * TERA, 0.864 * TERA, 48, "NVIDIA L40S datasheet"),
        Gpu("RTX 4090", "RTX 4090", 165.2 * TERA, 82.6 * TERA, 1.008 * TERA, 24, "NVIDIA Ada architecture whitepaper"),
    )
}


def find_gpu(name: str) -> Gpu:
    """The GPU called `name`. Raises UnknownName."""
    if name not in GPUS:
        raise UnknownName("GPU", name, GPUS)
    return GPUS[name]


def gpu_of_driver(name: str) -> Gpu | None:
    """The GPU by the name that the driver gives, such as "NVIDIA H100 80GB HBM3"; None for one without an entry here.

    The PCIe and NVL versions of a card are slower than the SXM ones that are entered, and have no entry.
    """
    if any(part in name for part in ("PCIe", "NVL", "Laptop", " D")):
        return None
    return next((gpu for gpu in GPUS.values() if gpu.key in name), None)
