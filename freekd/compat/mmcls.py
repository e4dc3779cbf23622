"""Work-arounds for mmcls 0.25, applied when it is first used: most runs have no classifier."""

import functools
import importlib
import tempfile
from typing import Any, List, Optional

import torch


def collect_results_on_cpu(apis: Any) -> None:
    """``mmcls.apis.test`` gathers results through a tensor on 'cuda': share a folder's name.

    As mmdet, mmseg and mmcv do, see :func:`freekd.compat.stack.apply`.

    Args:
        apis: the package ``mmcls.apis``.
    """
    module = importlib.import_module(f"{apis.__name__}.test")
    original = module.collect_results_cpu
    if getattr(original, "on_cpu", False):
        return

    @functools.wraps(original)
    def wrapper(result_part: List[Any], size: int, tmpdir: Optional[str] = None) -> Any:
        if tmpdir is None and not torch.cuda.is_available():
            shared = [tempfile.mkdtemp(prefix="freekd_test_")]
            torch.distributed.broadcast_object_list(shared, src=0)
            tmpdir = shared[0]
        return original(result_part, size, tmpdir)

    wrapper.on_cpu = True  # type: ignore[attr-defined]
    module.collect_results_cpu = wrapper  # type: ignore[attr-defined]
