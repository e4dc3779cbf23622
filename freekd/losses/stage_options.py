"""What a config says of a student's stage that is projected onto the teacher's tokens."""

import difflib
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence

from freekd.checks import check_choice, check_integer, check_weight

from .projector import NORMS, check_grid, check_heads, scales_of
from .tokens import check_index

VIEWS = ("spatial", "frequency")
NOTHING: Mapping[str, Any] = {}  # options of which the config says nothing, or no queries
TAPS = dict(stage3="s3", stage4="s4")


class StageOptions(NamedTuple):
    """What a config says of ``stage3`` or ``stage4``; None: as the models tell.

    Args:
        alpha: weights of the two views, spatial and frequency; a view of weight 0 is not computed.
        num_heads: of the projectors' attention; None: one for 64 channels, as near as it divides.
        softmax_scale: tau of the attention: one number, or one for each view.
        student_dims, pos_hw: channels and (height, width) of the student's map; one number of a
            square.
        teacher_dims, query_hw: channels and grid of the tokens: those of the teacher's stage.
        norm: of the projectors: ``batch``, or ``layer`` for students with layer norm (ConvNeXt).
        student_index, teacher_index: which output counts where the tap gives a tuple of them.
    """

    alpha: Sequence[float] = (0.08, 0.06)
    num_heads: Optional[int] = None
    softmax_scale: Any = 5.0
    student_dims: Optional[int] = None
    teacher_dims: Optional[int] = None
    query_hw: Any = None
    pos_hw: Any = None
    norm: str = "batch"
    student_index: int = -1
    teacher_index: int = -1

    @classmethod
    def read(cls, given: Any, key: str) -> "StageOptions":
        """The options of one stage, checked.

        Raises:
            ValueError: an unknown option, with the nearest, or a value of another kind.
        """
        if not isinstance(given, Mapping):
            raise ValueError(f"{key} must be a dict of options, or None, got {given!r}")
        for name in given:
            if name not in cls._fields:
                near = difflib.get_close_matches(str(name), cls._fields, n=1)
                hint = f" Did you mean {near[0]}?" if near else ""
                raise ValueError(
                    f"{key}: unknown option {name!r}; known are {', '.join(cls._fields)}.{hint}"
                )
        options = cls(**given)
        grids = {name: _square(getattr(options, name)) for name in ("query_hw", "pos_hw")}
        options = options._replace(**grids)
        if not isinstance(options.alpha, (list, tuple)) or len(options.alpha) != 2:
            raise ValueError(
                f"{key}.alpha must be two weights, of the views {' and '.join(VIEWS)}, got "
                f"{options.alpha!r}"
            )
        for weight in options.alpha:
            check_weight(f"{key}.alpha", weight)
        if not any(options.alpha):
            raise ValueError(f"{key}.alpha={options.alpha!r} leaves nothing: write {key}=None")
        for name in ("num_heads", "student_dims", "teacher_dims"):
            if getattr(options, name) is not None:
                check_integer(f"{key}.{name}", getattr(options, name), 2**15)
        for name in ("query_hw", "pos_hw"):
            if getattr(options, name) is not None:
                check_grid(f"{key}.{name}", getattr(options, name))
        if options.num_heads is not None and options.teacher_dims is not None:
            check_heads(f"{key}.num_heads", options.num_heads, options.teacher_dims)
        scales_of(options.softmax_scale, f"{key}.softmax_scale")
        check_choice(f"{key}.norm", options.norm, NORMS)
        for name in ("student_index", "teacher_index"):
            check_index(f"{key}.{name}", getattr(options, name))
        return options

    @property
    def lacks(self) -> bool:
        """Whether the models must tell something."""
        return None in (self.student_dims, self.teacher_dims, self.query_hw, self.pos_hw)

    def told(self, student: Sequence[int], teacher: Sequence[int]) -> "StageOptions":
        """With what is not given from (C, H, W) of both taps."""
        return self._replace(
            student_dims=self.student_dims or student[0],
            pos_hw=self.pos_hw or tuple(student[1:]),
            teacher_dims=self.teacher_dims or teacher[0],
            query_hw=self.query_hw or tuple(teacher[1:]),
        )


def _square(side: Any) -> Any:
    """(n, n) for a number n; what else is given as it is."""
    return (side, side) if isinstance(side, int) and not isinstance(side, bool) else side


def read_stages(given: Mapping[str, Any], key: str) -> Dict[str, StageOptions]:
    """Those that are not None."""
    stages = {
        name: StageOptions.read(options, f"{key}{name}")
        for name, options in given.items()
        if options is not None
    }
    if not stages:
        raise ValueError(f"{key}stage3=None and {key}stage4=None leave nothing. Give one of them")
    return stages


def check_shapes(shapes: Any, key: str) -> None:
    """Raise ValueError unless it is (C, H, W) by tap, or None."""
    if shapes is None:
        return
    listed = isinstance(shapes, Mapping) and all(
        name in TAPS.values() and isinstance(shape, (list, tuple)) and len(shape) == 3
        for name, shape in shapes.items()
    )
    if not listed:
        raise ValueError(
            f"{key} must be a dict from a tap, s3 or s4, to its (channels, height, width), such as "
            f"dict(s4=(2048, 7, 7)), got {shapes!r}. Correct it, or leave it out: the models tell "
            "it"
        )
    for name, shape in shapes.items():
        for side in shape:
            check_integer(f"{key}.{name}", side, 2**15)
