"""Gates: how much each channel, or place, counts."""

from freekd.gates.cbam import CBAMGate
from freekd.gates.gate import GATES, Gate
from freekd.gates.non_local import NonLocalGate
from freekd.gates.position import PositionGate
from freekd.gates.se import SqueezeExcitationGate

__all__ = [
    "GATES",
    "CBAMGate",
    "Gate",
    "NonLocalGate",
    "PositionGate",
    "SqueezeExcitationGate",
]
