"""The model of a config, and its first weights."""

from typing import Any, List
from urllib.error import URLError

import torch

from freekd import compat, tasks
from freekd.config.errors import ConfigError
from freekd.config.explain import building


def build_model(cfg: Any, task: str) -> torch.nn.Module:
    """The plain model or the algorithm of ``cfg``, not yet initialised."""
    compat.apply()
    import freekd.models  # noqa: F401  (registers the networks that the hosts lack)
    from freekd.zoo.stock import read_model

    with building("The model cannot be built from the config"):
        if cfg.get("algorithm") is not None:
            from mmrazor.models.builder import build_algorithm

            return build_algorithm(cfg.algorithm)
        model = read_model(cfg.model, "model")
        return tasks.get(task).build_model(model, cfg.get("train_cfg"), cfg.get("test_cfg"))


def init_weights(model: torch.nn.Module, cfg: Any) -> None:
    """The model's first weights, as its config says: pretrained backbones, teachers, inheriting.

    Raises:
        ConfigError: a checkpoint is missing or cannot be downloaded; says where to put the file.
    """
    from freekd.zoo.download import where_to_put

    with building("The model's initial weights"):
        try:
            model.init_weights()
        except URLError as error:
            wanted = where_to_put(cfg.get("model") or cfg.get("algorithm"))
            options = " ".join(
                f"{key}.backbone.init_cfg=None {key}.pretrained=None" for key in _untrained(cfg)
            )
            raise ConfigError(
                f"Weights of a pretrained backbone could not be downloaded ({error.reason}). On a "
                "machine without network, fetch them elsewhere and put them here: "
                f"{'; '.join(wanted) or 'see the init_cfg of the models'}. Or start from random "
                f"weights: --cfg-options {options}"
            ) from error


def _untrained(cfg: Any) -> List[str]:
    """The keys of the models whose backbones start with pretrained weights, as written."""
    short, algorithm = cfg.get("spelled_out"), cfg.get("algorithm") or {}
    if not algorithm:
        return ["pair.student" if short == "pair" else "model"]
    distiller = algorithm.get("distiller")
    if not distiller:
        return ["prompt.teacher" if short == "prompt" else "algorithm.architecture.model"]
    keys = ["pair.student" if short == "pair" else "algorithm.architecture.model"]
    if distiller.get("teacher_checkpoint") is None:
        keys.append("pair.teacher" if short == "pair" else "algorithm.distiller.teacher")
    return keys
