"""Knowledge distillation in the frequency domain, for MMRazor 0.x: FreeKD (CVPR 2024) and more.

``import freekd`` is light: it imports no OpenMMLab package, so that ``freekd.frequency``,
``freekd.prompts``, ``freekd.gates`` and ``freekd.losses`` run on a bare torch. What lives in
MMRazor's registries is imported, and registered, on first use: ``from freekd import
FreeKDDistiller``, or ``custom_imports = dict(imports=['freekd.distill'])`` in a config.
"""

from importlib import import_module
from typing import Any, List

__version__ = "0.4.0"

_REGISTERED = {
    "FrequencyPromptTeacher": "freekd.distill.prompt_teacher",
    "FrequencyPromptFinetune": "freekd.distill.finetune",
    "FreeKDDistill": "freekd.distill.algorithms",
    "FreeKDDistiller": "freekd.distill.distiller",
}

__all__ = ["__version__", *_REGISTERED]


def __getattr__(name: str) -> Any:
    if name in _REGISTERED:
        return getattr(import_module(_REGISTERED[name]), name)
    if not name[:1].isupper():  # a module that is about to be imported: nothing slow for it
        raise AttributeError(f"module 'freekd' has no attribute {name!r}")
    card = import_module("freekd.losses").card_of_class(name)
    if card is not None:
        return card.module
    raise AttributeError(f"module 'freekd' has no attribute {name!r}; it offers {_offered()}")


def _offered() -> List[str]:
    losses = [card.module for card in import_module("freekd.losses").cards().values()]
    return [*__all__, *(module.__name__ for module in losses if module is not None)]


def __dir__() -> List[str]:
    return sorted(set(globals()) | set(_offered()))
