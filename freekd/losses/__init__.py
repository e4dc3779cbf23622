"""Distillation losses in pure torch, one file per method: function, module, card."""

import pkgutil
from functools import lru_cache
from importlib import import_module
from typing import Any, Dict, Optional

from .card import Bundled, Card, Case, Outcome, Published

__all__ = ["Bundled", "Card", "Case", "Outcome", "Published", "card_of", "card_of_class", "cards"]


@lru_cache(maxsize=None)
def cards() -> Dict[str, Card]:
    """Every method of this package by name: the files that define ``CARD``.

    >>> cards()["freekd"].type
    'FreeKDLoss'
    """
    found = {}
    for info in pkgutil.iter_modules(__path__):
        card = getattr(import_module(f"{__name__}.{info.name}"), "CARD", None)
        if card is not None:
            if card.name != info.name:
                raise ImportError(f"losses/{info.name}.py: its card is named {card.name!r}")
            found[card.name] = card
    return found


def card_of_class(name: str) -> Optional[Card]:
    """The card whose own module is the class of this name; None where there is none."""
    for card in cards().values():
        if card.module is not None and card.module.__name__ == name:
            return card
    return None


def card_of(loss: Any) -> Optional[Card]:
    """The card of a built loss; None for a class that no method has."""
    for card in cards().values():
        if card.type.split(".")[-1] == type(loss).__name__:
            return card
    return None
