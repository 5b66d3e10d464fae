"""A device that isn't there: its tensors are the CPU's in disguise, and refuse to meet the CPU's own.

So what breaks on a first GPU run breaks here: a tensor made without a device, `numpy()` of one that is elsewhere, an
index from the wrong side. Values are those of the CPU. It can't show what kernels do differently, and doesn't follow
`weight.data = ...`, by which RL's reference takes the policy's place: there the two are the same.

Registering a device changes the process for good (torch allows one): use it in a process of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("privateuseone", 0)  # torch's name for a device that others bring
KEPT: list[Any] = []  # torch forgets what nobody holds
CPU = torch.device("cpu")
MOVES = ("aten::_copy_from", "aten::_to_copy", "aten::copy_")  # may know both sides
waits = 0  # times that a number or a tensor was brought back to the CPU: a GPU's queue runs empty there


class Elsewhere(torch.Tensor):
    """A tensor of the device; `held` are its values."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )
        made.held = inner
        return made

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(operation, args, kwargs or {})


class _Module:
    """What torch asks of `torch.<device>`."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        return torch.empty(0, dtype=torch.uint8)

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        pass

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


class _Factories(TorchDispatchMode):
    """`arange` and its kin make an empty tensor and let it grow, which the disguise wouldn't follow."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if device is not None and torch.device(device) == DEVICE and operation.name() != "aten::_to_copy":
            return Elsewhere(operation(*args, **kwargs | {"device": CPU}))
        return operation(*args, **kwargs)


def register() -> torch.device:
    """Make the device known to torch."""
    hook, guard = backend_registration._DummyPrivateUse1Hook(), backend_registration._DummyDeviceGuard()
    backend_registration._setup_privateuseone_for_python_backend("pretend", _Module(), hook, guard)
    library = torch.library.Library("aten", "IMPL")
    library.impl("empty.memory_format", _empty, "PrivateUse1")
    library.impl("empty_strided", _empty_strided, "PrivateUse1")
    library.impl("_copy_from", _copy_from, "PrivateUse1")
    _Factories().__enter__()  # type: ignore[no-untyped-call]
    KEPT.extend((hook, guard, library))
    return DEVICE


def _empty(size: Any, dtype: Any = None, layout: Any = None, device: Any = None, *_: Any, **__: Any) -> Elsewhere:
    return Elsewhere(torch.empty(size, dtype=dtype))


def _empty_strided(size: Any, stride: Any, dtype: Any = None, *_: Any, **__: Any) -> Elsewhere:
    return Elsewhere(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    global waits
    waits += not isinstance(target, Elsewhere)
    _inner(target).copy_(_inner(source))
    return target


def _inner(value: Any) -> Any:
    return value.held if isinstance(value, Elsewhere) else value


def _run(operation: Any, args: Any, kwargs: Any) -> Any:
    """The CPU's operation, where all tensors with dimensions are of the device."""
    global waits
    name, device = operation.name(), kwargs.get("device")
    if name == "aten::_copy_from":
        return _copy_from(*args)
    if name == "aten::_fused_sdp_choice":
        return 0  # attention by plain products
    strangers = [
        tensor
        for tensor in tree_leaves((args, kwargs))
        if isinstance(tensor, torch.Tensor) and not isinstance(tensor, Elsewhere) and tensor.dim()
    ]
    if strangers and name not in MOVES:
        raise RuntimeError(f"{name}: a tensor {tuple(strangers[0].shape)} of the CPU among those of the device")
    home = device is not None and torch.device(device).type == "cpu"
    waits += home or name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal")
    inner = tree_map(_inner, (args, kwargs))
    if device is not None:
        inner[1]["device"] = CPU
    result = operation(*inner[0], **inner[1])
    if home:
        return result
    if operation._schema.is_mutable and args and isinstance(args[0], Elsewhere) and not isinstance(result, tuple):
        return args[0] if result is not None else None
    return tree_map(lambda value: Elsewhere(value) if isinstance(value, torch.Tensor) else value, result)
