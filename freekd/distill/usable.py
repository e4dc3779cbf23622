"""Losses whose minimum leaves the student's map something else than the teacher's.

Where a part that comes from the teacher reads the tapped map, as Segment Anything's decoder reads
the image embedding, the student's map must become the teacher's, and not only its likeness.
"""

from typing import Any, Dict, List, Sequence

from torch import nn


def unusable(student: nn.Module, taps: Sequence[Any], losses: Any) -> List[str]:
    """What to say of the losses on the maps of a student's encoder.

    Args:
        student: a bare model; of one without ``encoder_parts`` nothing is said.
        taps: of the distiller.
        losses: its losses by name.

    Returns:
        A line for each option that leaves the maps free.
    """
    encoders = getattr(student, "encoder_parts", ())
    notes: Dict[str, None] = {}
    for tap in taps:
        if tap.student_module not in encoders:
            continue
        for loss in tap.losses:
            module = losses[loss.name]
            for option, why in _free(module):
                notes[
                    f"{loss.name}: {option}: {why}, so that the teacher's decoder, which the "
                    f"student inherits, cannot read what {tap.student_module!r} gives. Set "
                    f"{option.split('=')[0]}={_USABLE[option.split('=')[0]]!r}"
                ] = None
    return list(notes)


_USABLE = dict(align=None, normalize=None, bands="all")


def _free(loss: nn.Module) -> List[Any]:
    found = []
    align = getattr(loss, "align", None)
    if isinstance(align, nn.Module) and any(True for _ in align.parameters()):
        found.append(("align='conv1x1'", "only a transformed map is drawn to the teacher's"))
    if getattr(loss, "normalize", None) is not None:
        found.append((f"normalize={loss.normalize!r}", "mean and scale of each channel are free"))
    if getattr(loss, "bands", "all") != "all":
        found.append((f"bands={loss.bands!r}", "the bands left out are free"))
    return found
