"""Stage 2 as an MMRazor algorithm: distillation."""

from typing import Any, Collection, Dict, Optional, Sequence

import torch
from mmrazor.models.algorithms import GeneralDistill
from mmrazor.models.builder import ALGORITHMS

from freekd.distill.annotations import check_annotations
from freekd.distill.distiller import FreeKDDistiller
from freekd.distill.inherit import Inherited, Parts, inherit_weights
from freekd.distill.stand_for import StandsForModel
from freekd.distill.weights import resolve_model


@ALGORITHMS.register_module()
class FreeKDDistill(StandsForModel, GeneralDistill):
    """Stage 2: L_student = L_task + mu L_FreeKD (Eq. 14), with any terms beside it.

    Args:
        architecture: MMRazor's ``MMDetArchitecture`` or ``MMSegArchitecture``; its ``model`` is
            the student, a model dict, the path of a config file, or a stock config such as
            ``mmdet::retinanet/retinanet_r50_fpn_2x_coco.py``.
        distiller: a :class:`FreeKDDistiller`.
        inherit: parts of the student that start with the teacher's weights, such as
            ``["neck", "bbox_head"]``; see :func:`freekd.distill.inherit.inherit_weights`.

    In the log, beside each term: ``ratio.<term>``, its size relative to the student's task loss;
    and ``weight.<term>``, its weight in the iteration, where ``start``, ``stop`` or ``warmup`` of
    the loss change it.
    """

    def __init__(
        self,
        architecture: Dict[str, Any],
        distiller: Dict[str, Any],
        inherit: Parts = (),
        **kwargs: Any,
    ) -> None:
        if kwargs.get("with_teacher_loss"):
            raise ValueError(
                "algorithm.with_teacher_loss=True: the teacher is frozen, its loss teaches nothing"
            )
        architecture = dict(architecture)
        architecture["model"] = resolve_model(
            architecture.get("model"), "algorithm.architecture.model"
        )
        super().__init__(architecture=architecture, distiller=distiller, **kwargs)
        if isinstance(inherit, str):
            raise ValueError(f"algorithm.inherit={inherit!r}: expected a list, [{inherit!r}]")
        self.inherit = inherit
        self.inherited: Optional[Inherited] = None
        self._complete = True

    def init_weights(self) -> None:
        """Student and teacher as their configs say; then the student inherits."""
        super().init_weights()
        if self.inherit and self.distiller is not None:
            with torch.no_grad():
                self.inherited = inherit_weights(
                    self.architecture.model,
                    self.distiller.teacher,
                    self.inherit,
                    "algorithm.inherit",
                    getattr(self.distiller, "teacher_classes", None),
                    getattr(self.distiller, "class_map", None),
                )

    def check_ready(
        self, image: Optional[Sequence[int]] = None, given: Optional[Collection[str]] = None
    ) -> None:
        """What can only be checked once all weights are loaded, see the distiller's.

        Args:
            image: (channels, height, width) of the data's images.
            given: keys of a batch.
        """
        student = self.architecture.model
        if given is not None:
            check_annotations(student, given, who="student")
        if isinstance(self.distiller, FreeKDDistiller):
            if given is not None:
                self.distiller.check_annotations(given)
            self.distiller.check_ready()
            self.distiller.check_class_names(student)
            self.distiller.check_shapes(student, image)

    def train_step(self, data: Dict[str, Any], optimizer: Optional[Any]) -> Dict[str, Any]:
        """One step, with each distillation term's size relative to the task loss in the log."""
        outputs: Dict[str, Any] = super().train_step(data, optimizer)
        log = outputs["log_vars"]
        task = sum(v for k, v in log.items() if k.startswith("student.") and "loss" in k)
        for name in [name for name in log if name.startswith("distiller.")]:
            short = _short(name[len("distiller.") :].rsplit(".", 1)[0])
            ratio = log[name] / task if task else float("nan")
            log[f"ratio.{short}"] = log.get(f"ratio.{short}", 0.0) + ratio
        if isinstance(self.distiller, FreeKDDistiller):
            for name, weight in self.distiller.weights_in_force().items():
                log[f"weight.{_short(name)}"] = weight
        return outputs


def _short(loss: str) -> str:
    """A loss's name in the log."""
    return loss[len("loss_") :] if loss.startswith("loss_") else loss
