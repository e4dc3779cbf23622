"""``FrequencyPromptTeacher``: prompts inside a frozen teacher (Eq. 4-7), for mmdet and mmseg."""

from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Sequence, Union

from mmrazor.models.architectures.base import BaseArchitecture
from mmrazor.models.builder import ARCHITECTURES
from torch import Tensor

from freekd.checks import check_choice
from freekd.distill.annotations import check_without, left_out
from freekd.distill.run.levels import check_numbers, check_there
from freekd.distill.run.taps import Sizes, as_levels, hook_output, maps_to_output
from freekd.distill.weights import (
    find_module,
    load_teacher_weights,
    resolve_model,
    set_frozen_mode,
    warn_untrained,
    without_pretrained,
)
from freekd.frequency.transform import TransformLike, refuses_old
from freekd.prompts.file import fingerprint
from freekd.prompts.fill import FILLS, build_fill
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import GateLike, PromptSpec
from freekd.state_dict import MIN_SHARE

_TRAINED = 10**6  # an epoch after any warm-up: TOOD's first ones assign boxes in another way


@ARCHITECTURES.register_module()
class FrequencyPromptTeacher(BaseArchitecture):
    """A detector or segmentor whose tapped maps are replaced by their masked reconstruction.

    When prompted (the default), a forward hook on ``module`` sends each of its maps through the
    transform, masks the bands by the prompts, weights the channels by the gate, transforms
    back and cuts to size. When not, the model is the bare one, bitwise. Only prompts and gate
    learn: the model has ``requires_grad=False`` and stays in evaluation mode, norm statistics
    included.

    Args:
        model: the teacher: a model dict, the path of a config file, or a stock config such as
            ``mmdet::retinanet/retinanet_r101_fpn_2x_coco.py``.
        checkpoint: its weights, path or address, loaded by ``init_weights``; None leaves the
            config's own init.
        module: path of the tapped module, such as ``neck``.
        channels: channels of these maps, one number or one per level.
        num_levels: how many of its maps there are, or how many ``levels`` names.
        levels: the numbers, from 0, of its maps that have prompts; the others pass as they are.
            None: all.
        num_prompts, transform, granularity, gate, form: see
            :meth:`freekd.prompts.spec.PromptSpec.build`.
        fill: what stands for a coefficient that is masked out: ``zero`` (the paper), ``mean``, the
            channel's mean in that band, or ``noise`` around it, see :mod:`freekd.prompts.fill`.
        min_share: the least share of the teacher's weights that ``checkpoint`` must fill.
        without_losses: heads whose loss is left out of the teacher's own, where the data lacks what
            they need: ``roi_head.mask_head``, ``roi_head.semantic_head``, ``semantic_head``.

    Raises:
        ValueError: an option out of range, a key of version 0.1, or no such module (the nearest
            names are given).
    """

    @refuses_old
    def __init__(
        self,
        model: Union[str, Dict[str, Any]],
        channels: Union[int, Sequence[int]],
        num_levels: int,
        module: str = "neck",
        checkpoint: Optional[str] = None,
        num_prompts: int = 2,
        transform: TransformLike = "haar",
        granularity: str = "band",
        gate: GateLike = "position",
        min_share: float = MIN_SHARE,
        without_losses: Sequence[str] = (),
        form: str = "signed",
        fill: str = "zero",
        levels: Optional[Sequence[int]] = None,
        init_cfg: Optional[Dict[str, Any]] = None,
    ) -> None:
        spec = PromptSpec.build(
            channels, num_levels, num_prompts, transform, granularity, gate, form
        )
        check_choice("architecture.fill", fill, FILLS)
        if levels is not None:
            check_numbers("architecture.levels", levels)
            if len(levels) != spec.num_levels:
                raise ValueError(
                    f"architecture.levels={list(levels)}: expected {spec.num_levels} of them, as "
                    "num_levels says"
                )
        model = resolve_model(model, "architecture.model")
        if checkpoint is not None:
            model = without_pretrained(model)
        super().__init__(model=model, init_cfg=init_cfg)
        self.checkpoint = checkpoint
        self.min_share = min_share
        self.teacher_share: Optional[float] = None  # of the weights that the checkpoint filled
        self.teacher_classes: Optional[Sequence[str]] = None  # as its checkpoint names them
        self.module_path = module
        self.levels = None if levels is None else list(levels)
        check_without(self.model, without_losses, "architecture.without_losses")
        self.without_losses = tuple(without_losses)
        if callable(getattr(self.model, "set_epoch", None)):
            self.model.set_epoch(_TRAINED)
        self.model.requires_grad_(False)
        self.prompts = FrequencyPrompts(spec)
        self.fill = build_fill(fill, spec)
        self.prompted = True
        self.masks: List[List[Tensor]] = []  # of the last prompted forward: levels, then groups
        self.sizes: List[Sequence[int]] = []  # (H, W) of its maps
        self.calls = 0
        tapped = find_module(self.model, module, "architecture.module")
        self._handle = hook_output(tapped, self._replace)
        self.train(self.training)

    def _replace(self, output: Any, sizes: Optional[Sizes]) -> Any:
        if not self.prompted:
            return None  # the output stays as it is
        key = f"architecture.module={self.module_path!r}"
        every = as_levels(output, sizes, key)
        levels = range(len(every)) if self.levels is None else self.levels
        check_there(levels, len(every), key)
        feats = [every[level] for level in levels]
        self.prompts.check_feats(feats, key, "architecture.channels")
        outs, self.masks = self.prompts(feats, self.fill)
        self.sizes = [tuple(feat.shape[-2:]) for feat in feats]
        self.calls += 1
        for level, out in zip(levels, outs):
            every[level] = out
        return maps_to_output(every, output)

    def remove_hook(self) -> None:
        """Give the model back as it was; prompts have no effect any more."""
        self._handle.remove()

    @contextmanager
    def unprompted(self) -> Iterator["FrequencyPromptTeacher"]:
        """Within it, the model is the bare teacher."""
        before, self.prompted = self.prompted, False
        try:
            yield self
        finally:
            self.prompted = before

    def train(self, mode: bool = True) -> "FrequencyPromptTeacher":
        """Training mode for the prompts; the teacher itself stays in evaluation mode."""
        super().train(mode)
        set_frozen_mode(self.model, mode)
        return self

    def init_weights(self) -> None:
        """Load the teacher's checkpoint, or, without one, run the model config's own init."""
        if self.checkpoint is None:
            warn_untrained("architecture.checkpoint")
            super().init_weights()
        else:
            self.teacher_share, self.teacher_classes = load_teacher_weights(
                self.model, self.checkpoint, "algorithm.architecture.checkpoint", self.min_share
            )
            self._is_init = True
        self.model.requires_grad_(False)

    def forward_prompted(self, **data: Any) -> Dict[str, Any]:
        """The teacher's own losses on the masked features; leaves ``masks`` behind.

        Raises:
            RuntimeError: the tapped module ran not at all, or more than once.
        """
        self.masks, self.calls = [], 0
        with left_out(self.model, self.without_losses):
            losses: Dict[str, Any] = self.model(return_loss=True, **data)
        if self.calls != 1:
            raise RuntimeError(
                f"architecture.module={self.module_path!r} ran {self.calls} times in one training "
                "step, expected once; tap a module that sees each image once, such as 'neck'"
            )
        return losses

    def prompt_info(self) -> Dict[str, Any]:
        """What a prompt file remembers of the teacher it was made with."""
        levels = {} if self.levels is None else {"levels": self.levels}
        return {
            **levels,
            "teacher": type(self.model).__name__,
            "teacher_module": self.module_path,
            "teacher_checkpoint": str(self.checkpoint),
            "teacher_fingerprint": fingerprint(self.model),
        }

    @property
    def CLASSES(self) -> Any:  # noqa: N802 (mmdet's name)
        """The teacher's class names."""
        return getattr(self.model, "CLASSES", None)
