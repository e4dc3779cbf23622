"""A model of fewer classes out of one of more: the layers that are indexed by class are cut.

A teacher often knows more classes than its student is to learn. Where a head scores each class by
itself (sigmoid losses) the scores of the classes that stay do not change at all; of a softmax head
they are those among the classes that stay.
"""

import argparse
from typing import Any, Dict, List, Optional, Sequence

from freekd.convert.check import built_model
from freekd.convert.output import (
    ConversionError,
    add_output_arguments,
    check_output,
    copied,
    kept_meta,
    run_converter,
    size_of,
)
from freekd.fileio import atomic_save, load_checkpoint_file
from freekd.state_dict import STUDENT_PREFIX, has_prefix, state_dict_of, strip_module


def with_classes(content: Any, model: Any, keep: Sequence[str], source: str) -> Dict[str, Any]:
    """The checkpoint ``content`` with the classes ``keep`` alone, in this order.

    Args:
        content: of a checkpoint file, with the names of its classes in ``meta['CLASSES']``.
        model: built with ``len(keep)`` classes; it takes the result strictly.
        keep: names.
        source: the file's name, for errors.

    Raises:
        ConversionError: no names, a class that the file does not know, or weights that do not fit.
    """
    from freekd import tasks
    from freekd.distill.weights import classes_of

    state = strip_module(state_dict_of(content))
    if has_prefix(state, STUDENT_PREFIX):
        raise ConversionError(
            f"{source} is a whole distillation. Take the student out first: python "
            f"tools/model_converters/convert_kd_ckpt_to_student.py {source} --out-path OUT"
        )
    names = classes_of(content)
    if names is None:
        raise ConversionError(
            f"{source}: expected the names of its classes in meta['CLASSES'], found none. It is no "
            "checkpoint of a training run of mmdet, mmseg or mmcls."
        )
    unknown = [name for name in keep if name not in names]
    if unknown or len(set(keep)) != len(keep) or not keep:
        raise ConversionError(
            f"--classes {' '.join(keep)}: expected names of {source}, each once: "
            f"{', '.join(names)}." + (f" It has no {', '.join(unknown)}." if unknown else "")
        )
    task, order = tasks.of_built(model), [names.index(name) for name in keep]
    weights, wrong = copied(state), []
    for name, own in model.state_dict().items():
        value = weights.get(name)
        if value is None or (value.shape == own.shape and order == list(range(len(names)))):
            continue
        axis = task.class_axis(model, name.rpartition(".")[0])
        wide = None if axis is None else axis._replace(classes=len(names))
        if wide is not None and value.dim() and value.shape[0] == wide.channels:
            weights[name] = value[wide.reordered(order)].clone()
        if weights[name].shape != own.shape:
            wrong.append(f"{name} {tuple(value.shape)}, the model has {tuple(own.shape)}")
    try:
        if not wrong:
            model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        wrong = [line.strip() for line in str(error).splitlines()[1:]]
    if wrong:
        raise ConversionError(
            f"{source} does not fit the {type(model).__name__} with {len(keep)} classes: "
            f"{'; '.join(wrong[:4])}. Give the config of the same model with "
            f"num_classes={len(keep)}."
        )
    return {"meta": {**kept_meta(content), "CLASSES": tuple(keep)}, "state_dict": weights}


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/model_converters/keep_classes.py``."""
    parser = argparse.ArgumentParser(
        description="A checkpoint with some of its classes alone, for a teacher that knows more "
        "classes than the student is to learn."
    )
    parser.add_argument(
        "config",
        help="of the model with as many classes as are kept: a path, mmdet::..., ...",
    )
    parser.add_argument("checkpoint", help="of the model with more classes")
    parser.add_argument(
        "--classes", nargs="+", required=True, metavar="NAME",
        help="the classes to keep, in the order of the data that the student learns",
    )  # fmt: skip
    add_output_arguments(parser)
    args = parser.parse_args(argv)

    def convert() -> str:
        out = check_output(args.checkpoint, args.out_path, args.force)
        content = load_checkpoint_file(args.checkpoint)
        model = built_model(args.config, "CONFIG")
        atomic_save(with_classes(content, model, args.classes, args.checkpoint), out)
        return f"{out}: {len(args.classes)} classes kept, {size_of(out)}"

    return run_converter(convert)
