"""Modules that another uses without showing them: a frozen teacher, prompts from a file.

What is frozen and comes from a file belongs in no checkpoint, in no optimizer and in no average of
weights, and a hook that walks ``named_modules`` or ``parameters`` must not take it for what learns.
It still moves between devices and precisions with its owner. Pure torch.
"""

from typing import Any, Dict, List

from torch import Tensor, nn


class HoldsFrozen(nn.Module):
    """A module that can hold others: it moves them along, and nothing else sees them.

    >>> import torch
    >>> class Owner(HoldsFrozen):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.inner = nn.Linear(2, 2)
    ...         self.hold("inner")
    >>> owner = Owner().to(torch.float64)
    >>> owner.inner.weight.dtype, list(owner.parameters()), list(owner.state_dict())
    (torch.float64, [], [])
    """

    def hold(self, name: str) -> None:
        """From now on the submodule ``name`` is held; ``self.name`` finds it as before."""
        held: Dict[str, nn.Module] = self.__dict__.setdefault("_held", {})
        module = self._modules.pop(name)
        assert module is not None
        held[name] = module

    def held(self) -> Dict[str, nn.Module]:
        """The held modules by name."""
        return dict(self.__dict__.get("_held", {}))

    def __setattr__(self, name: str, value: Any) -> None:
        """Another module in a held one's place is held, too."""
        held = self.__dict__.get("_held", {})
        if name in held and isinstance(value, nn.Module):
            held[name] = value
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        held = self.__dict__.get("_held", {})
        return held[name] if name in held else super().__getattr__(name)

    def _load_from_state_dict(
        self, state_dict: Dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Files of older versions, and of others, carry them: they are passed over."""
        for name in self.held():
            for key in [key for key in state_dict if key.startswith(f"{prefix}{name}.")]:
                del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _apply(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        """What ``to``, ``cuda``, ``float`` and their like come to in torch."""
        for module in self.held().values():
            module._apply(fn, *args, **kwargs)
        return super()._apply(fn, *args, **kwargs)  # type: ignore[no-untyped-call]


def with_held(model: nn.Module) -> List[nn.Module]:
    """``model`` and all that modules in it hold, each a root of its own."""
    roots = [model]
    for module in model.modules():
        if isinstance(module, HoldsFrozen):
            for inner in module.held().values():
                roots += with_held(inner)
    return roots
