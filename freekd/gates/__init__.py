"""Gates: how much each channel, or place, counts."""

from freekd.gates.gate import GATES, Gate
from freekd.gates.position import PositionGate

__all__ = ["GATES", "Gate", "PositionGate"]
