"""Whether the Triton kernels can run, how a map is cut for them, and their launch."""

import os
from functools import lru_cache
from typing import Any, Dict, List, Sequence, Tuple

import torch
from torch import Tensor

MAX_LEVELS = 4
BLOCK = 128  # lanes of a program, one for each of its threads (4 warps, Triton's default)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@lru_cache(maxsize=None)
def kernels() -> Any:
    """The module of all kernels, or None where triton is missing or too old."""
    try:
        from freekd.frequency.triton import kernels as haar_triton_kernels
    except (ImportError, AttributeError):  # no triton; before 3.5 it lacks constexpr_function
        return None
    return haar_triton_kernels


@lru_cache(maxsize=None)
def _interpreted() -> bool:
    """Whether triton was imported with TRITON_INTERPRET=1: then the kernels run on CPU."""
    kernel = getattr(kernels(), "distance_kernel", None)
    return type(kernel).__name__ == "InterpretedFunction"


@lru_cache(maxsize=None)
def _core_count(index: int) -> int:
    """Multiprocessors of a device that is fit for the kernels, 0 for one that is not."""
    properties = torch.cuda.get_device_properties(index)
    fit = torch.version.hip is None and properties.major >= 8
    return int(properties.multi_processor_count) if fit else 0


def available(x: Tensor, levels: int = 1) -> bool:
    """Whether the kernels can take maps like ``x`` (..., H, W), through ``levels`` levels."""
    if levels > MAX_LEVELS or x.dtype not in _FLOATS or x.dim() < 2 or x.numel() == 0:
        return False
    if os.environ.get("FREEKD_TRITON") == "0":
        return False
    if x.device.type == "cuda":
        return kernels() is not None and (_interpreted() or _core_count(x.get_device()) > 0)
    return x.device.type == "cpu" and "TRITON_INTERPRET" in os.environ and _interpreted()


def core_count(x: Tensor) -> int:
    """Multiprocessors to share work among, those of an H100 where none is there."""
    return _core_count(x.get_device()) if x.is_cuda and not _interpreted() else 132


def wide(*maps: Tensor) -> torch.dtype:
    """What is computed in: float64 where a map is, else float32."""
    return torch.float64 if any(x.dtype == torch.float64 for x in maps) else torch.float32


class Cut:
    """How maps (H, W) are cut into blocks and lanes, see :mod:`.haar_triton_blocks`."""

    def __init__(self, size: Sequence[int], levels: int) -> None:
        if not 1 <= levels <= MAX_LEVELS:
            raise ValueError(f"the kernels do 1 to {MAX_LEVELS} levels, got {levels}")
        self.height, self.width = size
        self.levels = levels
        self.side = 2 if levels == 1 else 4
        self.unit = 4 if self.width % 4 == 0 else 2 if self.width % 2 == 0 else 1
        self.blocks = [-(-length // 2**levels) for length in size]
        self.lanes_in_block = (2**levels // self.side) ** 2
        self.lanes = self.blocks[0] * self.blocks[1] * self.lanes_in_block

    def sizes(self) -> Tuple[int, int, int, int]:
        """The kernels' height, width_units, blocks_y, blocks_x."""
        return (self.height, self.width // self.unit, *self.blocks)

    def constants(self, dtype: torch.dtype) -> Dict[str, Any]:
        """The constants that all kernels want."""
        language = kernels().tl
        return {
            "LEVELS": self.levels,
            "SIDE": self.side,
            "UNIT": self.unit,
            "ACC": language.float64 if dtype == torch.float64 else language.float32,
        }

    def band_sizes(self) -> List[Tuple[int, int]]:
        """(h, w) of the 3J + 1 bands."""
        out = []
        for level in [self.levels] + [1 + i // 3 for i in range(3 * self.levels)]:
            out.append((-(-self.height // 2**level), -(-self.width // 2**level)))
        return out


def launch(x: Tensor, kernel: Any, grid: Tuple[int, ...], *args: Any, **constants: Any) -> None:
    """Run a kernel on x's device, whichever is current."""
    if x.is_cuda and x.get_device() != torch.cuda.current_device():
        with torch.cuda.device(x.device):
            kernel[grid](*args, **constants)
    else:
        kernel[grid](*args, **constants)


def check_shapes(what: str, shapes: Sequence[Any], expected: Sequence[Any]) -> None:
    """The kernels trust their sizes; a wrong one would read what is not theirs."""
    came = [tuple(shape) for shape in shapes]
    if came != list(expected):
        raise ValueError(f"expected {what} of the shapes {list(expected)}, got {came}")
