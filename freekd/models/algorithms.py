"""The two stages as MMRazor algorithms: prompt finetuning, then distillation."""

from typing import Any, Dict, Optional

from mmrazor.models.algorithms import GeneralDistill
from mmrazor.models.algorithms.base import BaseAlgorithm
from mmrazor.models.builder import ALGORITHMS

from freekd.functional import DISSIMILARITIES, check_choice
from freekd.prompt_file import save_prompts

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
            the student, a model dict or the path of a config file.
        distiller: a :class:`FreeKDDistiller`.

    In the log, beside each term: ``ratio.<term>``, its size relative to the student's task loss.
    """

    def __init__(
        self, architecture: Dict[str, Any], distiller: Dict[str, Any], **kwargs: Any
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

    def check_ready(self) -> None:
        """What can only be checked once all weights are loaded, see the distiller's."""
        check = getattr(self.distiller, "check_ready", None)
        if check is not None:
            check()

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
