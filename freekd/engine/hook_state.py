"""What hooks keep in the model (averages of its weights, counters): saved whole, resumed exactly.

Such a hook registers its buffers when the run begins, so a checkpoint's values for them can only be
read then. It must also have finished its part of an iteration before the checkpoint is written:
checkpoints are written at priority LOW, after custom hooks and before the evaluation.
"""

from types import SimpleNamespace
from typing import Any, Dict, List, Mapping, Optional

import torch
from mmcv.runner import Hook

from freekd.config.errors import ConfigError
from freekd.state_dict import strip_module

CHECKPOINT_PRIORITY = "LOW"


class NoteState(Hook):
    """Remembers which tensors the model had at this hook's turn of ``before_run``."""

    def __init__(self) -> None:
        self.names: List[str] = []

    def before_run(self, runner: Any) -> None:
        self.names = list(_bare(runner).state_dict())


class HookState(Hook):
    """At the very end of ``before_run``: buffers of hooks are checked, and set to a checkpoint's.

    Args:
        by_epoch: whether the run counts epochs; averaging hooks then put the averages into the
            model before the checkpoint is written, and take them out again before the next epoch.
        noted: what noted the model's tensors just before the checkpoint hook's turn.
        state: of the checkpoint that the run goes on from, None for a new run.
        source: its file.
    """

    def __init__(
        self,
        by_epoch: bool,
        noted: NoteState,
        state: Optional[Mapping[str, torch.Tensor]] = None,
        source: str = "",
    ) -> None:
        self.by_epoch = by_epoch
        self.noted = noted
        self.state = state
        self.source = source
        self.left: Dict[str, torch.Tensor] = {}  # of the checkpoint, found in no module yet

    def before_run(self, runner: Any) -> None:
        model = _bare(runner)
        late = sorted(set(model.state_dict()) - set(self.noted.names))
        if late:
            raise ConfigError(
                f"custom_hooks: a hook of a priority after {CHECKPOINT_PRIORITY} keeps state in "
                f"the model ({', '.join(late[:3])}): checkpoints are written before its turn, so "
                "that no run could go on from them exactly. Give it the priority 'NORMAL'."
            )
        if any(hasattr(hook, "param_ema_buffer") for hook in runner.hooks):
            runner.meta["averaged"] = "weights" if self.by_epoch else "buffers"
        if self.state is not None:
            self._restore(model, strip_module(self.state), runner.logger)

    def _restore(self, model: torch.nn.Module, state: Mapping[str, Any], logger: Any) -> None:
        result = model.load_state_dict(state, strict=False)
        self.left = {name: state[name] for name in result.unexpected_keys}
        if result.missing_keys:
            logger.warning(
                "%d tensors of hooks (%s, ...) are not in %s: they begin anew from its weights",
                len(result.missing_keys), result.missing_keys[0], self.source,
            )  # fmt: skip

    def _restore_late(self, runner: Any) -> None:
        """Some hooks register their buffers only when training begins."""
        state = _bare(runner).state_dict() if self.left else {}
        for name in [name for name in self.left if name in state]:
            state[name].copy_(self.left.pop(name))

    def before_train_iter(self, runner: Any) -> None:
        """The first one: what still is not there belongs to a hook of the earlier run."""
        self.state = None  # it is as large as the model
        if not self.left:
            return
        self._restore_late(runner)
        if self.left:
            runner.logger.warning(
                "%s has %d tensors (%s, ...) that this run does not have, of a hook that it had: "
                "they are left out. If it averages weights, the file's weights are the averages",
                self.source, len(self.left), next(iter(self.left)),
            )  # fmt: skip
        self.left = {}

    def before_train_epoch(self, runner: Any) -> None:
        """Switches that hooks make in one epoch are made again where a run goes on after it."""
        if self.state is None:
            return
        self.state = None
        self._restore_late(runner)
        for hook in runner.hooks:
            kinds = {kind.__name__ for kind in type(hook).__mro__}
            if kinds & {"YOLOXModeSwitchHook", "SyncNormHook"}:
                switch = runner.max_epochs - hook.num_last_epochs - 1
                if 0 <= switch < runner.epoch:
                    then = SimpleNamespace(
                        epoch=switch, max_epochs=runner.max_epochs, model=runner.model,
                        data_loader=runner.data_loader, logger=runner.logger,
                    )  # fmt: skip
                    hook.before_train_epoch(then)


def _bare(runner: Any) -> torch.nn.Module:
    model: torch.nn.Module = getattr(runner.model, "module", runner.model)
    return model
