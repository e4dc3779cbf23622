"""The two stages as MMRazor algorithms: prompt finetuning, then distillation."""

from typing import Any, Dict, Optional

import torch
from mmrazor.models.algorithms import GeneralDistill
from mmrazor.models.algorithms.base import BaseAlgorithm
from mmrazor.models.builder import ALGORITHMS

from freekd.functional import DISSIMILARITIES, check_choice
from freekd.prompt_file import save_prompts

from .distillers import FreeKDDistiller
from .inherit import Inherited, Parts, inherit_weights
from .utils import resolve_model


@ALGORITHMS.register_module()
class FrequencyPromptFinetune(BaseAlgorithm):
    """Stage 1: L_prompt = L_finetune + lambda L_dis (Eq. 9); only prompts and gate learn.

    Args:
        architecture: a :class:`FrequencyPromptTeacher`.
        dissimilarity: ``jaccard`` (the paper) or ``dice`` (the release).
        dissimilarity_weight: lambda.

    In the log: the teacher's own terms on the masked features as ``teacher.*``,
    ``loss_dissimilarity`` (weighted), and ``mask_sum``, the mean over all bands of the sum over T
    of the masks: T/2 at the start; a band that the task needs whole has a sum near 1.
    """

    def __init__(
        self,
        architecture: Dict[str, Any],
        dissimilarity: str = "jaccard",
        dissimilarity_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        check_choice("algorithm.dissimilarity", dissimilarity, DISSIMILARITIES)
        super().__init__(architecture, **kwargs)
        self.dissimilarity = dissimilarity
        self.dissimilarity_weight = dissimilarity_weight

    def forward(self, img: Any, return_loss: bool = True, **kwargs: Any) -> Any:
        """The losses of stage 1, or the prompted teacher's results."""
        if not return_loss:
            return self.architecture(img, return_loss=False, **kwargs)
        teacher = self.architecture
        losses = {
            f"teacher.{name}": value
            for name, value in teacher.forward_prompted(img=img, **kwargs).items()
        }
        masks = teacher.masks
        losses["loss_dissimilarity"] = self.dissimilarity_weight * teacher.prompts.dissimilarity(
            masks, self.dissimilarity
        )
        sums = [mask.detach().sum(dim=1).mean() for level in masks for mask in level]
        losses["mask_sum"] = sum(sums) / len(sums)
        return losses

    def train_step(self, data: Dict[str, Any], optimizer: Optional[Any]) -> Dict[str, Any]:
        """One step; ``ratio.dissimilarity`` in the log is lambda L_dis / L_finetune."""
        outputs: Dict[str, Any] = super().train_step(data, optimizer)
        log = outputs["log_vars"]
        task = sum(v for k, v in log.items() if k.startswith("teacher.") and "loss" in k)
        log["ratio.dissimilarity"] = log["loss_dissimilarity"] / task if task else float("nan")
        return outputs

    def save_prompts(self, path: str) -> None:
        """Write the prompt file that stage 2 reads."""
        teacher = self.architecture
        save_prompts(teacher.prompts, path, teacher.prompt_info())


@ALGORITHMS.register_module()
class FreeKDDistill(GeneralDistill):
    """Stage 2: L_student = L_task + mu L_FreeKD (Eq. 14), with any terms beside it.

    Args:
        architecture: MMRazor's ``MMDetArchitecture`` or ``MMSegArchitecture``; its ``model`` is
            the student, a model dict, the path of a config file, or a stock config such as
            ``mmdet::retinanet/retinanet_r50_fpn_2x_coco.py``.
        distiller: a :class:`FreeKDDistiller`.
        inherit: parts of the student that start with the teacher's weights, such as
            ``["neck", "bbox_head"]``; see :func:`freekd.models.inherit.inherit_weights`.

    In the log, beside each term: ``ratio.<term>``, its size relative to the student's task loss.
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
                )

    def check_ready(self) -> None:
        """What can only be checked once all weights are loaded, see the distiller's."""
        if isinstance(self.distiller, FreeKDDistiller):
            self.distiller.check_ready()
            self.distiller.check_shapes(self.architecture.model)

    def train_step(self, data: Dict[str, Any], optimizer: Optional[Any]) -> Dict[str, Any]:
        """One step, with each distillation term's size relative to the task loss in the log."""
        outputs: Dict[str, Any] = super().train_step(data, optimizer)
        log = outputs["log_vars"]
        task = sum(v for k, v in log.items() if k.startswith("student.") and "loss" in k)
        for name in [name for name in log if name.startswith("distiller.")]:
            short = name[len("distiller.") :].replace("loss_", "").rsplit(".", 1)[0]
            ratio = log[name] / task if task else float("nan")
            log[f"ratio.{short}"] = log.get(f"ratio.{short}", 0.0) + ratio
        return outputs
