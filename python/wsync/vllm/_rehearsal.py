"""What a model's own loader would do with a set of tensors, found out without touching the model.

`load_weights` decides by names which parameter, and which part of a fused one, a tensor goes to. It is run here on a twin of the
model whose tensors are on the meta device, and what it would write is recorded. So fused q/k/v, gate/up, experts and tensor
parallel slices are checked by the same code that will load them.
"""

from __future__ import annotations

import bisect
import fnmatch
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .._error import Error
from ._twin import twin_of

# Checkpoints have them, models don't.
IGNORED = ("*rotary_emb.inv_freq", "*rotary_emb.cos_cached", "*rotary_emb.sin_cached", "*rotary_pos_emb.inv_freq")
# Parameters that a checkpoint may leave out: vLLM has defaults for them.
OPTIONAL = ("*.k_scale", "*.v_scale", "*.q_scale", "*.prob_scale", "*.input_scale")

_Region = tuple[int, tuple[int, ...], tuple[int, ...]]  # offset, size, strides in the parameter's storage


@dataclass
class _Parameter:
    name: str
    index: int  # in the model's order
    numel: int  # that a checkpoint has
    dtype: torch.dtype
    copied: set[_Region] = field(default_factory=set)
    filled: set[_Region] = field(default_factory=set)
    sources: list[str] = field(default_factory=list)

    def covered(self) -> int:
        """Regions are counted once; two that overlap in part would be counted twice, which no loader of vLLM's does."""
        parts = self.copied | {region for region in self.filled if _numel(region) < self.numel}  # a fill of all is not a load
        return sum(map(_numel, parts)) if self.copied else 0


@dataclass(frozen=True)
class Rehearsal:
    order: tuple[str, ...]  # the tensors, in the order of the model's layers
    problems: tuple[str, ...]  # empty: the set is whole, and fits
    left_out: tuple[str, ...] = ()  # parameters that the set leaves as they are, at least in part

    def check(self, what: str) -> None:
        """Error("invalid_argument") names the first problems."""
        if self.problems:
            more = f"; and {len(self.problems) - 3} more" if len(self.problems) > 3 else ""
            raise Error("invalid_argument", f"{what} does not fit the engine's model: {'; '.join(self.problems[:3])}{more}. No weight was touched")


def rehearse(model: torch.nn.Module, given: Mapping[str, torch.Tensor], *, ignore: Sequence[str] = (), optional: Sequence[str] = ()) -> Rehearsal:
    """`given`: the checkpoint's tensors by name, in any order; their bytes are read only where the loader computes with them.
    `ignore`: patterns of names that may have no effect; `optional`: of parameters that may be left out."""
    twin = twin_of(model)
    recorder = _Recorder(model, twin, given)
    problems: list[str] = []
    try:
        with torch.no_grad(), recorder:
            twin.load_weights(recorder.feed())
    except Error:
        raise
    except Exception as why:  # what a loader raises has no common type
        problems.append(f"its loader refuses {recorder.current or 'the set'}: {type(why).__name__}: {why}")
        return Rehearsal(tuple(given), tuple(problems))
    problems += recorder.problems
    left_out = [(parameter, covered) for parameter in recorder.parameters if (covered := parameter.covered()) < parameter.numel]
    for parameter, covered in left_out:
        if not _matches(parameter.name, (*OPTIONAL, *optional)):
            by = f" (by {', '.join(parameter.sources[:4])})" if parameter.sources else ""
            problems.append(f"{parameter.name} would get {covered} of its {parameter.numel} elements{by}")
    unused = [name for name in given if name not in recorder.first_use and not _matches(name, (*IGNORED, *ignore))]
    problems += [f"{name} is nothing that it loads" for name in unused]
    last = len(recorder.parameters)
    positions = {name: i for i, name in enumerate(given)}
    order = sorted(given, key=lambda name: (recorder.first_use.get(name, last), positions[name]))
    return Rehearsal(tuple(order), tuple(problems), tuple(parameter.name for parameter, _ in left_out))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _numel(region: _Region) -> int:
    n = 1
    for size in region[1]:
        n *= size
    return n


class _Recorder(TorchDispatchMode):
    """Sees every operation of a loader. What it would write to the twin is noted; a write to anything of the model's is refused."""

    def __init__(self, model: torch.nn.Module, twin: torch.nn.Module, given: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.given = given
        self.current = ""
        self.problems: list[str] = []
        self.first_use: dict[str, int] = {}
        self.parameters: list[_Parameter] = []
        self._by_storage: dict[int, _Parameter] = {}
        self._extents = sorted((one.data_ptr(), one.data_ptr() + one.nbytes, name) for name, one in given.items() if one.numel() and not one.is_meta)
        for name, value in twin.named_parameters():
            numel = int(getattr(value, "weight_loader_numel", value.numel()))
            if numel:
                parameter = _Parameter(name, len(self.parameters), numel, value.dtype)
                self.parameters.append(parameter)
                self._by_storage[value.untyped_storage()._cdata] = parameter
        live = itertools.chain(model.parameters(), model.buffers())
        self._live = {one.untyped_storage().data_ptr() for one in live if not one.is_meta and not isinstance(one, torch.nn.parameter.UninitializedTensorMixin)}
        self._writes: dict[Any, tuple[int, ...]] = {}

    def feed(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in self.given.items():
            self.current = name
            yield name, tensor

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        written = self._writes.get(func)
        if written is None:
            written = tuple(i for i, one in enumerate(func._schema.arguments) if one.alias_info is not None and one.alias_info.is_write)
            self._writes[func] = written
        for i in written:
            if i < len(args) and isinstance(args[i], torch.Tensor):
                self._note(func, args[i], args)
        return func(*args, **(kwargs or {}))

    def _note(self, func: Any, target: torch.Tensor, args: Any) -> None:
        copying = func is torch.ops.aten.copy_.default
        if not target.is_meta:
            if self._name_of(target):
                raise Error("unsupported", f"the model's loader writes to {self.current} itself, whose bytes are read-only")
            if target.untyped_storage().data_ptr() in self._live:
                raise Error("unsupported", f"the model's loader keeps its own way to its tensors, so that {self.current} can't be rehearsed")
            return  # something that the loader made
        parameter = self._by_storage.get(target.untyped_storage()._cdata)
        if parameter is None:
            self.first_use.setdefault(self.current, len(self.parameters))
            return  # a buffer, or something that the loader made
        region = (target.storage_offset(), tuple(target.shape), tuple(target.stride()))
        if not copying:
            parameter.filled.add(region)
            return
        source = args[1]
        name = self._name_of(source) or self.current
        if source.numel() != target.numel():
            self.problems.append(f"{name} has {source.numel()} elements where {parameter.name} takes {target.numel()}")
        if source.dtype != target.dtype:
            self.problems.append(f"{name} is {str(source.dtype)[6:]} where {parameter.name} is {str(target.dtype)[6:]}")
        parameter.copied.add(region)
        if name not in parameter.sources:
            parameter.sources.append(name)
        self.first_use[name] = min(self.first_use.get(name, parameter.index), parameter.index)

    def _name_of(self, tensor: torch.Tensor) -> str:
        """The given tensor that this one lies in; "" for none: the loader made it."""
        if tensor.is_meta or not tensor.numel():
            return ""
        address = tensor.data_ptr()
        i = bisect.bisect_right(self._extents, address, key=lambda extent: extent[0]) - 1
        return self._extents[i][2] if i >= 0 and address < self._extents[i][1] else ""
