"""Prompt files: out of a full stage-1 checkpoint, and from the release's layout to ours and back.

Pure torch, but for ``extract_prompts --config``, which builds the stage-1 model.
"""

import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Any, List, Mapping, Optional

from freekd.convert.output import (
    ConversionError,
    add_output_arguments,
    check_output,
    run_converter,
    size_of,
)
from freekd.fileio import atomic_save, load_checkpoint_file
from freekd.prompts.file import MAKE_COMMAND, PromptFile, is_ours, load_prompts, save_prompts
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.release import release_content
from freekd.prompts.spec import PromptSpec
from freekd.registry import written
from freekd.state_dict import (
    PROMPT_PREFIX,
    STUDENT_PREFIX,
    has_prefix,
    state_dict_of,
    strip_module,
    strip_prefix,
)


# --------------------------------------------------------------------------- out of a checkpoint
def prompts_of_checkpoint(
    content: Any, source: str = "the checkpoint", config: Optional[str] = None
) -> PromptFile:
    """The prompts in a full checkpoint of stage 1, and what they were trained on.

    Args:
        content: As read from a checkpoint of ``FrequencyPromptFinetune``.
        source: Its name, for errors.
        config: The run's config, for a checkpoint whose meta does not describe its prompts
            (of a freekd older than that); None reads the meta. The config text inside a
            checkpoint is never executed.

    Raises:
        ConversionError: It is no checkpoint of stage 1, it does not describe its prompts, or
            ``config`` is another run's.
    """
    if is_ours(content):
        raise ConversionError(f"{source} is a prompt file already; nothing needs to be taken out.")
    state = strip_module(state_dict_of(content))
    if not has_prefix(state, PROMPT_PREFIX):
        what = (
            "a checkpoint of stage 2, which uses prompts but does not keep them"
            if has_prefix(state, STUDENT_PREFIX)
            else f"its first keys are {', '.join(list(state)[:3]) or 'none'}"
        )
        raise ConversionError(
            f"Expected a checkpoint of stage 1 in {source}, with weights under {PROMPT_PREFIX}*; "
            f"found {what}. Prompts are made by stage 1: {MAKE_COMMAND}."
        )
    if config is not None:
        return _by_config(state, source, config)
    meta = content.get("meta") or {}
    described = meta.get("prompts")
    if not isinstance(described, Mapping):
        raise ConversionError(
            f"{source} does not say what its prompts were made for (meta has no 'prompts': it was "
            "written by an older freekd). Add --config with the config of that run, or take "
            "prompts.pth from its work dir."
        )
    try:
        prompts = FrequencyPrompts(PromptSpec.from_dict(dict(described["spec"])))
        prompts.load_state_dict(strip_prefix(state, PROMPT_PREFIX))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ConversionError(
            f"{source}: its prompts do not fit its own description of them: {error}. Use an older "
            "checkpoint of the same run."
        ) from error
    return PromptFile(prompts, dict(described.get("info", {})))


def _by_config(state: "OrderedDict[str, Any]", source: str, config: str) -> PromptFile:
    from freekd import compat

    compat.apply()
    import freekd.models  # noqa: F401  (registers the algorithms)
    from freekd.config.checks import decide_task
    from freekd.config.load import load_config
    from freekd.engine.build import build_model
    from freekd.engine.checkpoint import load_weights

    cfg = load_config(config)
    kind = (cfg.get("algorithm") or {}).get("type")
    if kind != "FrequencyPromptFinetune":
        raise ConversionError(
            f"--config {config}: expected a config of stage 1, algorithm.type="
            f"'FrequencyPromptFinetune', found {kind!r}. Give the config of the run that wrote "
            f"{source}."
        )
    model = build_model(cfg, decide_task(cfg))
    load_weights(model, state, source)
    teacher = model.architecture
    return PromptFile(teacher.prompts, teacher.prompt_info())


def extract_prompts(
    checkpoint: str, out_path: str, force: bool = False, config: Optional[str] = None
) -> PromptFile:
    """Write the prompt file of a stage-1 checkpoint, equal to the one stage 1 writes itself.

    Raises:
        FileNotFoundError, RuntimeError: ``checkpoint`` is missing or unreadable.
        ConversionError: See :func:`prompts_of_checkpoint`; or ``out_path`` exists and ``force``
            is off.
    """
    out = check_output(checkpoint, out_path, force)
    found = prompts_of_checkpoint(load_checkpoint_file(checkpoint), str(checkpoint), config)
    save_prompts(found.prompts, str(out), found.info)
    return found


def main_extract(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/model_converters/extract_prompts.py``."""
    parser = argparse.ArgumentParser(description="The prompt file of a full stage-1 checkpoint.")
    parser.add_argument("checkpoint", help="checkpoint of a stage-1 run, such as iter_2000.pth")
    add_output_arguments(parser)
    parser.add_argument(
        "--config", help="that run's config, for a checkpoint that does not describe its prompts"
    )
    args = parser.parse_args(argv)

    def convert() -> str:
        found = extract_prompts(args.checkpoint, args.out_path, args.force, args.config)
        return (
            f"{args.out_path}: {_words(found)}, {size_of(args.out_path)}, made with the "
            f"{found.info.get('teacher')} of {found.info.get('teacher_checkpoint')}"
        )

    return run_converter(convert)


# --------------------------------------------------------------------------- the release's layout
def convert_release(path: str, out_path: str, to: Optional[str] = None, force: bool = False) -> str:
    """Write the prompts in ``path`` in the other layout, or in the one that ``to`` names.

    Args:
        path: A prompt file, ours or the release's.
        out_path: The file.
        to: ``ours`` or ``release``; None: the one that ``path`` does not have.
        force: Overwrite ``out_path``.

    Returns:
        ``ours`` or ``release``, as written.

    Raises:
        FileNotFoundError, RuntimeError: ``path`` is missing, unreadable, or no prompt file.
        ValueError: The release has no such prompts (ours only go there with granularity 'level',
            Haar, zero padding, three levels and no gate).
        ConversionError: It has that layout already; or ``out_path`` exists and ``force`` is off.
    """
    out = check_output(path, out_path, force)
    has = "ours" if is_ours(load_checkpoint_file(path, what="prompt file")) else "release"
    to = to or ("release" if has == "ours" else "ours")
    loaded = load_prompts(path)
    if to == has:
        raise ConversionError(f"{path} has the layout --to {to} already. Copy it, or leave it.")
    if to == "ours":
        save_prompts(loaded.prompts, str(out), loaded.info)
        return to
    try:
        content = release_content(loaded.prompts, loaded.info)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    atomic_save(content, out)
    return to


def _words(found: PromptFile) -> str:
    spec = found.prompts.spec
    gate = "no gate" if spec.gate is None else f"gate {written(spec.gate)}"
    return (
        f"T = {spec.num_prompts}, {spec.num_levels} pyramid levels of {spec.channels[0]} channels, "
        f"transform {written(spec.transform.to_dict())}, granularity {spec.granularity!r}, "
        f"form {spec.form!r}, {gate}"
    )


def main_release(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/model_converters/convert_release_prompts.py``."""
    parser = argparse.ArgumentParser(
        description="Prompts of the authors' release to freekd's prompt file, and back."
    )
    parser.add_argument("prompts", help="a prompt file or checkpoint of the release, or ours")
    add_output_arguments(parser)
    parser.add_argument(
        "--to", choices=("ours", "release"), help="default: the layout that the file does not have"
    )
    args = parser.parse_args(argv)

    def convert() -> str:
        to = convert_release(args.prompts, args.out_path, args.to, args.force)
        layout = "freekd's layout" if to == "ours" else "the release's layout"
        loaded = load_prompts(str(Path(args.out_path)))
        return f"{args.out_path}: {layout}, {_words(loaded)}, {size_of(args.out_path)}"

    return run_converter(convert)
