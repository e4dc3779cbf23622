"""The losses of the methods' cards in MMRazor's registry."""

from mmrazor.models.builder import LOSSES

from freekd.losses import cards


def register_losses() -> None:
    """Register the module of every card, under its class's name; again does nothing."""
    for card in cards().values():
        if card.module is not None and LOSSES.get(card.module.__name__) is not card.module:
            LOSSES.register_module(module=card.module)
