"""Whether a classifier's logits are one linear layer on the spatial mean of its last map."""

from typing import Any

import torch
from torch import nn

from freekd.tasks.base import Task, TaskError


def mean_classifier(task: Task, model: nn.Module, key: str) -> str:
    """The path of that layer, see :meth:`freekd.tasks.base.Task.mean_classifier`.

    It is tried on a map of small numbers: neck and head must give what the layer gives. So whatever
    lies between them and the layer, such as another norm or pooling, is found.

    Raises:
        TaskError: there is no such layer; says what there is.
    """
    modules = dict(model.named_modules())
    paths = [path for path in modules if task.class_axis(model, path) is not None]
    paths = [path for path in paths if isinstance(modules[path], nn.Linear)]
    if len(paths) == 1 and _is_linear_in_mean(task, model, modules[paths[0]]):
        return paths[0]
    parts = " and ".join(
        type(getattr(model, name)).__name__
        for name in ("neck", "head")
        if getattr(model, name, None) is not None
    )
    raise TaskError(
        f"{key}: expected a teacher whose logits are one linear layer on the spatial mean of "
        f"its last map (GlobalAveragePooling and LinearClsHead), got {parts} with the "
        f"classifier layers {paths or 'none'}. Take such a teacher, or remove the entry."
    )


def _is_linear_in_mean(task: Task, model: Any, layer: Any) -> bool:
    run, weight = task.run_head(model, "head"), layer.weight
    feat = torch.linspace(-1, 1, 18 * layer.in_features, dtype=weight.dtype).sin()
    feat = feat.to(weight.device).view(2, layer.in_features, 3, 3)
    try:
        with torch.no_grad():
            feats = model.neck((feat,)) if getattr(model, "neck", None) else (feat,)
            given = None if run is None else run(feats, [])
            made = layer(feat.mean(dim=(2, 3)))
    except Exception:  # whatever a head says that takes tokens, or several maps
        return False
    same_kind = torch.is_tensor(given) and given.shape == made.shape
    return same_kind and bool(torch.allclose(given, made, rtol=1e-3, atol=1e-4))
