"""Running a model no further than its tapped modules need.

A tapped neck needs no head, a tapped head no loss, a tapped encoder no decoder, and a RoI head of
the teacher answers for the student's proposals, so that both speak of the same boxes.
"""

import inspect
import re
from contextlib import nullcontext
from functools import partial
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from torch import Tensor, nn

from freekd import tasks
from freekd.distill.run.leave_out import EndAfterTaps, left_out, untapped_layers

_ROI = re.compile(r"^roi_head\.bbox_head(?:\.(\d+))?(?:\.|$)")
SINGLE = -1  # the stage of a RoI head that is no cascade


def roi_stage(path: str) -> Optional[int]:
    """The stage of the RoI head's box head that ``path`` lies in; None if it lies in none.

    >>> roi_stage("roi_head.bbox_head.0.fc_reg"), roi_stage("roi_head.bbox_head.fc_reg")
    (0, -1)
    """
    match = _ROI.match(path)
    if match is None:
        return None
    return SINGLE if match.group(1) is None else int(match.group(1))


class PartialRun:
    """Which parts of ``model`` the modules at ``paths`` need.

    Args:
        model: of any task.
        paths: tapped modules, such as ``neck`` or ``roi_head.bbox_head.fc_reg``.

    Attributes:
        possible: False where the parts cannot be run alone (an unusual model): run it whole.
        stages: of the tapped RoI heads, see :func:`roi_stage`.
        end: ends :meth:`features` after the last tap, see :class:`.leave_out.EndAfterTaps`; None
            where RoI heads come after it.
        untapped: layers of the dense heads that no tap depends on.
    """

    def __init__(self, model: nn.Module, paths: Sequence[str]) -> None:
        self.model = model
        self.stages: List[int] = []
        heads: Set[str] = set()
        self.possible = hasattr(model, "extract_feat")
        task = tasks.of_built(model)
        for path in paths:
            root = path.split(".")[0]
            if root == "roi_head":
                stage = roi_stage(path)
                if stage is None:
                    self.possible = False
                elif stage not in self.stages:
                    self.stages.append(stage)
            elif root in task.heads:
                heads.add(root)
            elif root not in ("backbone", "neck", *getattr(model, "encoder_parts", ())):
                self.possible = False
        self.heads: List[tasks.RunHead] = []
        self.untapped: List[nn.Module] = []
        self.end: Optional[EndAfterTaps] = None
        for root in sorted(heads):
            run = task.run_head(model, root)
            if run is None:
                self.possible = False
            else:
                self.heads.append(run)
                self.untapped += untapped_layers(getattr(model, root), root, paths)
        modules = dict(model.named_modules())
        tapped = [modules[path] for path in dict.fromkeys(paths) if path in modules]
        if self.possible and not self.stages:
            self.end = EndAfterTaps(tapped)

    def features(self, img: Tensor, img_metas: Sequence[Dict[str, Any]]) -> Any:
        """Backbone, neck and the tapped dense heads, as far as a tap needs them.

        Returns:
            The neck's features; None where the last tap lies in backbone or neck.
        """
        feats = None
        with left_out(self.untapped), self.end(len(img)) if self.end else nullcontext():
            feats = self.model.extract_feat(img)  # type: ignore[operator]
            for meta in img_metas if self.heads else ():  # as detectors set it before their losses
                meta.setdefault("batch_input_shape", tuple(img.shape[-2:]))
            for head in self.heads:
                head(feats, img_metas)
        return feats

    def extractor(self, stage: int) -> nn.Module:
        """The RoI extractor of a stage."""
        return _of_stage(self.model.roi_head.bbox_roi_extractor, stage)  # type: ignore

    def box_head(self, stage: int) -> nn.Module:
        """The box head of a stage."""
        return _of_stage(self.model.roi_head.bbox_head, stage)  # type: ignore

    def roi_head(self, feats: Any, rois: Tensor, stage: int) -> None:
        """One RoI head on the given proposals, by the model's own code.

        Args:
            feats: what :meth:`features` gave.
            rois: (K, 5), image index and box in pixels of the input image.
            stage: see :func:`roi_stage`.
        """
        head: Any = self.model.roi_head
        head._bbox_forward(*(() if stage == SINGLE else (stage,)), feats, rois)


class Proposals:
    """The student's proposals of a training step, as its box heads saw them.

    The extractor knows the boxes, the box head which of the extractor's calls were for it (a mask
    branch may share the extractor) and which was the last (samplers such as OHEM run both before).

    Args:
        run: the student's tapped parts.

    Attributes:
        rois: (K, 5) per stage, see :func:`roi_stage`.
        handles: of the hooks.
    """

    def __init__(self, run: PartialRun) -> None:
        self.rois: Dict[int, Tensor] = {}
        self._seen: Dict[int, Tensor] = {}
        self.handles: List[Any] = []
        for stage in run.stages:
            extractor, box_head = run.extractor(stage), run.box_head(stage)
            self.handles += [
                extractor.register_forward_pre_hook(partial(self._see, stage)),
                box_head.register_forward_pre_hook(partial(self._keep, stage)),
            ]

    def _see(self, stage: int, module: nn.Module, args: Tuple[Any, ...]) -> None:
        if module.training:
            self._seen[stage] = args[1].detach()

    def _keep(self, stage: int, module: nn.Module, args: Tuple[Any, ...]) -> None:
        if module.training and stage in self._seen:
            self.rois[stage] = self._seen[stage]

    def forget(self) -> None:
        """At the end of a step."""
        self.rois.clear()
        self._seen.clear()


def _of_stage(modules: Any, stage: int) -> nn.Module:
    found: nn.Module = modules if stage == SINGLE else modules[stage]
    return found


def why_no_rois(model: nn.Module) -> Optional[str]:
    """None if the model's RoI head can be run on given boxes alone, else what it also needs."""
    head: Any = getattr(model, "roi_head", None)
    forward = getattr(head, "_bbox_forward", None)
    if forward is None:
        return "it has no RoI head of boxes"
    names = [name for name in inspect.signature(forward).parameters if name != "stage"]
    for name, flag in (("semantic_feat", "with_semantic"), ("glbctx_feat", "with_glbctx")):
        if name in names and not getattr(head, flag, False):
            names.remove(name)
    needs = [name for name in names if name not in ("x", "rois")]
    return f"{type(head).__name__} also needs {', '.join(needs)}" if needs else None
