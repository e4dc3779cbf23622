"""A model's results in torch and in onnxruntime on one image, compared."""

from typing import Any

import torch

from freekd import tasks
from freekd.convert.output import ConversionError
from freekd.tasks.base import Agreement

__all__ = ["Agreement", "compare_with_torch"]


def compare_with_torch(
    model: Any, task: tasks.Task, onnx_path: str, example: torch.Tensor, meta: Any
) -> Agreement:
    """Run both on one image.

    Args:
        model: A stock model.
        task: Its task.
        onnx_path: What the stock tool wrote for it.
        example: The image (1, 3, H, W), normalised.
        meta: Its meta, as the host passes it.

    Raises:
        ConversionError: The results are not of one kind.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_path, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {session.get_inputs()[0].name: example.numpy()})
    try:
        return task.onnx_agreement(model, outputs, example, meta)
    except tasks.TaskError as error:
        raise ConversionError(str(error)) from error
