"""An algorithm that answers for the detector inside it, to hooks written for the detector."""

from typing import Any, Optional

from torch import nn


class StandsForModel(nn.Module):
    """Attributes that an algorithm lacks are those of its ``architecture.model``.

    Hooks of mmdet, mmseg and users reach for a part of the detector through
    ``runner.model.module``: ``.bbox_head.use_l1 = True``, ``.set_epoch(epoch)``, ``.backbone``. In
    a pair that is the student's; what they set is set there, once the algorithm is built. Private
    names are the algorithm's own.
    """

    _complete = False  # set at the end of the algorithm's own ``__init__``

    def _model(self) -> Optional[nn.Module]:
        architecture = self.__dict__.get("_modules", {}).get("architecture")
        return None if architecture is None else getattr(architecture, "model", None)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            model = None if name.startswith("_") else self._model()
            if model is None or not hasattr(model, name):
                raise
            return getattr(model, name)

    def __setattr__(self, name: str, value: Any) -> None:
        model = self._model() if self._complete and not name.startswith("_") else None
        if model is not None and not self._is_own(name):
            setattr(model, name, value)
        else:
            super().__setattr__(name, value)

    def _is_own(self, name: str) -> bool:
        places = (self.__dict__, self._parameters, self._buffers, self._modules)
        return hasattr(type(self), name) or any(name in place for place in places)
