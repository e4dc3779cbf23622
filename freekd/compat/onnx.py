"""Work-arounds that only ONNX export needs: the stock tools of 2022 on today's torch.

The part of :mod:`freekd.compat` for ``mmdet/.mim/tools/deployment/pytorch2onnx.py`` and
``mmseg/.mim/tools/pytorch2onnx.py``; in force within :func:`stock_export` only.
"""

import contextlib
import functools
import inspect
from typing import Any, Callable, Iterator

import torch


@contextlib.contextmanager
def stock_export() -> Iterator[None]:
    """Within it, the stock ``pytorch2onnx.py`` of mmdet 2.x and mmseg 0.x work."""
    import mmcv.onnx
    import mmcv.onnx.symbolic
    from mmdet.core.export import onnx_helper

    with contextlib.ExitStack() as stack:

        def replace(owner: Any, name: str, value: Any) -> None:
            stack.callback(setattr, owner, name, vars(owner)[name])
            setattr(owner, name, value)

        replace(torch.onnx, "export", _tracing_exporter(torch.onnx.export))
        replace(onnx_helper.DummyONNXNMSop, "forward", staticmethod(_traceable_nms))
        if not _takes_mmcv_slices():
            for module in (mmcv.onnx, mmcv.onnx.symbolic):
                replace(module, "register_extra_symbolics", _leave_to_torch)
        yield


def _tracing_exporter(original: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.onnx.export`` as these tools expect it.

    * torch >= 2.9 exports by ``torch.export`` unless told otherwise, which cannot follow mmdet's
      code (and needs onnxscript): trace instead, as torch did then.
    * The tools fix ``img_metas`` by ``functools.partial``; torch >= 1.10 reads such defaults as
      further inputs: "received an input of unsupported type: numpy.ndarray".
    * Weights among the graph's inputs keep onnxruntime from folding constants, and it warns of
      each: they are constants.
    """
    takes_dynamo = "dynamo" in inspect.signature(original).parameters

    @functools.wraps(original)
    def export(model: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        forward = model.forward
        if isinstance(forward, functools.partial):
            model.forward = lambda *inputs: forward(*inputs)
        kwargs["keep_initializers_as_inputs"] = False
        if takes_dynamo:
            kwargs["dynamo"] = False
        return original(model, *args, **kwargs)

    return export


def _traceable_nms(ctx: Any, boxes: torch.Tensor, *_: Any) -> torch.Tensor:
    """What stands for the NMS while tracing: any indices (N, 3) of batch, class and box.

    mmdet's returns a tensor made outside; torch >= 2.0 traces a Function's inside and then fails:
    "outerNode->outputs().size() == node->inputs().size() INTERNAL ASSERT FAILED".
    """
    return boxes.new_zeros((2, 3), dtype=torch.long)


def _takes_mmcv_slices() -> bool:
    """Whether torch's ONNX helper still has the signature that mmcv calls it with."""
    try:
        from torch.onnx.symbolic_opset10 import _slice
    except ImportError:
        return False
    return len(inspect.signature(_slice).parameters) >= 7


def _leave_to_torch(*_: Any) -> None:
    """Instead of mmcv's translations of torch's own operators, which torch now has itself.

    They call a helper of torch by its old signature: "_slice() takes from 5 to 6 positional
    arguments but 7 were given".
    """
