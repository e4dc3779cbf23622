"""The ways to train the student of the bundled task: alone, and one or more for each method."""

from typing import Dict

from freekd.losses import Bundled, cards

BASELINE = "baseline"


def rows() -> Dict[str, Bundled]:
    """Name -> config and labels: the student alone, then what the methods' cards say."""
    alone = Bundled("configs/baseline/retinanet_r18_digits.py", "student alone", "student alone")
    found = {BASELINE: alone}
    for card in cards().values():
        found.update(card.bundled)
    return found
