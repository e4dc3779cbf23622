"""The entry behind ``tools/sam_reference.py``: the teacher's masks on an evaluation's images."""

import argparse
import os
import sys
from typing import Any, List, Optional

from freekd import cli, compat
from freekd.cli.common import config_parser


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """The command line."""
    parser = config_parser(
        "Write the teacher's masks, to which mIoU compares: data.test.reference=FILE.",
        "a config of stage 1 or 2, whose teacher is taken, or of the teacher as a plain model",
    )
    parser.add_argument(
        "--checkpoint", help="of the teacher: path or address (default: the config's)"
    )
    parser.add_argument("--out", required=True, help="the file to write")
    parser.add_argument(
        "--split", choices=("test", "val"), default="test", help="data.test (default) or data.val"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda if there is one")
    return parser.parse_args(argv)


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/sam_reference.py``; returns the exit code."""
    compat.hide_gpus_if_asked(sys.argv[1:] if argv is None else argv)
    compat.apply()
    from freekd.config import load
    from freekd.engine import friendly, launch

    args = parse_args(argv)
    with friendly.friendly_errors() as outcome:
        cfg = load.load_config(args.config, cli.cfg_options(args))
        cfg.device = launch.choose_device(args.device or cfg.get("device"))
        make_reference(cfg, args.checkpoint, args.out, args.split)
    return outcome.code


def make_reference(cfg: Any, checkpoint: Optional[str], out: str, split: str = "test") -> None:
    """Write the masks of the teacher of ``cfg``, prompt by prompt, to the file ``out``.

    Raises:
        ConfigError: no teacher, none that takes prompts, no checkpoint, or other data.
    """
    from freekd import tasks
    from freekd.config.errors import ConfigError
    from freekd.config.explain import building
    from freekd.datasets.sam_reference import write_reference
    from freekd.engine import datasets, launch
    from freekd.prompts.file import fingerprint
    from freekd.zoo.stock import read_model

    model_cfg, own = _teacher(cfg)
    checkpoint = checkpoint or own
    if checkpoint is None:
        raise ConfigError(
            "--checkpoint: expected the teacher's weights, got none, and the config names none. "
            "Give a path or an address."
        )
    task = tasks.get("det")
    dataset_cfg = (cfg.get("data") or {}).get(split)
    if dataset_cfg is None:
        raise ConfigError(f"Expected the config key data.{split}, found none. Add it.")
    dataset_cfg["reference"] = None  # it is what is made here
    with building("The teacher"):
        model_cfg = dict(read_model(model_cfg, "teacher"), checkpoint=str(checkpoint))
        model_cfg.pop("decoder_checkpoint", None)
        teacher = task.build_model(model_cfg, None, None)
        if not hasattr(teacher, "encoder_parts"):
            raise ConfigError(
                f"expected a SegmentAnything as teacher, got a {type(teacher).__name__}, which "
                "takes no prompts. Give the config of a SAM."
            )
        teacher.init_weights()
    loader = datasets.build_eval_loader(cfg, split, task.name, False)
    dataset = loader.dataset
    steps = getattr(dataset, "prompt_steps", None)
    if not steps:
        raise ConfigError(
            f"data.{split}: expected a SegmentAnythingDataset with SamTestPrompts in its pipeline, "
            f"got a {type(dataset).__name__} without. Take one of configs/_base_/datasets."
        )
    mark = fingerprint(teacher)
    results = task.test(launch.wrap_for_test(teacher.eval(), cfg.device), loader, False)
    print()
    images = [
        {
            "masks": result["masks"],
            "iou": [round(value, 5) for value in result["iou"]],
            "prompts": dataset.prompts_of(index).round(3).tolist(),
        }
        for index, result in enumerate(results)
    ]
    about = dict(fingerprint=mark, checkpoint=os.path.basename(str(checkpoint)))
    write_reference(out, dataset.file_names, steps[0].prompt, images, about)
    count = sum(len(image["masks"]) for image in images)
    print(f"{out}: {count} masks of {len(images)} images, prompted by a {steps[0].prompt}")


def _teacher(cfg: Any) -> Any:
    """The teacher's model, and the file of its weights, if the config names one."""
    algorithm = cfg.get("algorithm")
    if algorithm is None:
        model = cfg.get("model") or {}
        return model, model.get("checkpoint")
    distiller = algorithm.get("distiller")
    if distiller:
        return distiller.get("teacher"), distiller.get("teacher_checkpoint")
    return algorithm.architecture.model, algorithm.architecture.get("checkpoint")
