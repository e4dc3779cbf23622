"""FreeKD: knowledge distillation in the frequency domain (CVPR 2024), for MMRazor 0.x.

``import freekd`` is light: it imports no OpenMMLab package, so that ``freekd.frequency``,
``freekd.prompt``, ``freekd.gate`` and ``freekd.functional`` run on a bare torch. The classes that
live in MMRazor's registries are imported, and registered, on first use:
``from freekd import FreeKDLoss``, or ``custom_imports = dict(imports=['freekd.models'])`` in a
config.
"""

from importlib import import_module
from typing import Any, List

__version__ = "0.1.0"

_REGISTERED = {
    "FreeKDLoss": "freekd.models.losses",
    "FeatureMSELoss": "freekd.models.feature_mse",
    "FrequencyPromptTeacher": "freekd.models.prompt_teacher",
    "FrequencyPromptFinetune": "freekd.models.algorithms",
    "FreeKDDistill": "freekd.models.algorithms",
    "FreeKDDistiller": "freekd.models.distillers",
}

__all__ = ["__version__", *_REGISTERED]


def __getattr__(name: str) -> Any:
    if name in _REGISTERED:
        import_module("freekd.models")
        return getattr(import_module(_REGISTERED[name]), name)
    raise AttributeError(f"module 'freekd' has no attribute {name!r}; it offers {__all__}")


def __dir__() -> List[str]:
    return sorted(set(globals()) | set(__all__))
