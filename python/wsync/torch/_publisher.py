"""A trainer's module, published: each rank its own shards, nothing gathered."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeAlias

import torch
import torch.distributed as dist

from .. import _session
from .._error import Error
from .._events import failures
from .._wsync import Layout, Manifest, Version
from ._shards import Box, boxes_of, pieces_of
from ._views import dtype_name, torch_dtype

Source: TypeAlias = torch.nn.Module | Mapping[str, torch.Tensor]
Names: TypeAlias = Callable[[str], str | None] | Mapping[str, str] | None
Dtypes: TypeAlias = torch.dtype | Callable[[str, torch.dtype], torch.dtype] | None

# What wrappers add to a module's names: FSDP1, DDP, torch.compile, activation checkpointing.
_WRAPPERS = ("_fsdp_wrapped_module.", "_orig_mod.", "_checkpoint_wrapped_module.")


@dataclass(frozen=True)
class _Held:
    """One tensor of the model, as this rank holds it."""

    name: str  # in the checkpoint
    dtype: str  # that is published
    shape: tuple[int, ...]  # of the whole
    tensor: torch.Tensor  # as the source has it
    local: torch.Tensor
    boxes: list[Box]  # that this rank has of it


def named_tensors(source: Source, names: Names = None) -> Iterator[tuple[str, torch.Tensor]]:
    """A module's parameters and persistent buffers, or a state dict's tensors, under their names in a checkpoint.

    Wrappers' prefixes go; a tensor that has several names (tied weights) has its first. `names` renames: a mapping, or a function that
    may answer None for what is not to be published.
    """
    return ((name, tensor) for name, tensor, _ in _named(source, names))


def _named(source: Source, names: Names) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """named_tensors(), and what this rank holds of each."""
    given = source.state_dict(keep_vars=True) if isinstance(source, torch.nn.Module) else source
    seen: set[Any] = set()
    for key, tensor in given.items():
        if not isinstance(tensor, torch.Tensor):
            continue
        local = _local(tensor)
        identity = (local.data_ptr(), tuple(tensor.shape), tuple(local.stride()), tensor.dtype) if local.numel() else id(tensor)
        if identity in seen:
            continue
        seen.add(identity)
        name: str | None = key.removeprefix("module.") if isinstance(source, torch.nn.parallel.DistributedDataParallel) else key
        for wrapper in _WRAPPERS:
            assert name is not None
            name = name.replace(wrapper, "")
        assert name is not None
        if callable(names):
            name = names(name)
        elif names is not None:
            name = names.get(name, name)
        if name is not None:
            yield name, tensor, local


class ModulePublisher:
    """Publishes a module's weights of now with each publish(). One thread. Made by publisher()."""

    def __init__(self, session: _session.Session, name: str, source: Source, *, names: Names, dtype: Dtypes, group: Any, run: str, options: dict[str, Any]) -> None:
        self.source = source
        self._names = names
        self._dtype = dtype
        self.rank, self.ranks = _members(group)
        self._known: dict[Any, list[Box]] = {}  # by shape, placements and mesh
        world = len(self.ranks)
        own = (run or uuid.uuid4().hex, [(one.name, one.dtype, one.shape, one.boxes) for one in self._held()])
        everyone: list[Any] = [own]
        if world > 1:
            everyone = [None] * world
            dist.all_gather_object(everyone, own, group=group)
        run = everyone[0][0]
        self.layout = _layout_of([held for _, held in everyone])
        self.slabs = int(options.get("slabs", 2))
        self.publisher = session.publisher(name, self.rank, world, source=self.layout, run=run, **options)
        self._write: _session.Write | None = None

    def publish(self, *, step: int, deadline: float | None = 30.0) -> Version:
        """This rank's shards as they are now, cast on the way where a dtype was given. Visible when all ranks have published it.

        Parameters that live in the slab (adopt) are not copied; of all others it takes a snapshot, and training may go on when it returns.
        Error("timed_out") names who still reads the slab that is to be written.
        """
        with failures("publish", name=self.publisher.name, step=step, peer=f"rank {self.rank}"), self._begin(deadline) as write:
            try:
                self._fill(write)
                return self.publisher.publish(write, step=step)
            finally:
                self._write = None

    def adopt(self, *, deadline: float | None = 30.0) -> int:
        """Moves the parameters into the slab of a live publisher (slabs=1), so that a publication copies none of them. Bytes moved.

        Call it before the first forward pass and before the optimizer takes the parameters' data. What is cast, not a parameter, or cut
        into several pieces stays where it is. From publish() on the parameters are READ-ONLY, and a write to one ends the process, until
        the next begin: let guard() do that around the optimizer's steps.
        """
        if self.slabs != 1:
            raise Error("invalid_argument", f"adopt needs a live publisher: make it with slabs=1, not {self.slabs}")
        write = self._begin(deadline)
        moved = 0
        index = {(name, offset): i for i, (name, _, offset, _) in enumerate(write.shards())}
        for one in self._held():
            if len(one.boxes) != 1 or not isinstance(one.tensor, torch.nn.Parameter) or dtype_name(one.tensor.dtype) != one.dtype:
                continue
            memory = write.region(index[one.name, one.boxes[0][0]])
            region = torch.frombuffer(memory, dtype=torch.uint8).view(one.local.dtype).view(one.local.shape)
            region.copy_(one.local)
            if hasattr(one.tensor, "placements"):
                one.tensor._local_tensor = region
            else:
                one.tensor.data = region
            moved += region.nbytes
        return moved

    def guard(self, optimizer: torch.optim.Optimizer, *, deadline: float | None = 30.0) -> None:
        """From now on each optimizer.step() first takes the right to write the slab: a served weight never changes under an engine.

        It waits until nobody holds the version that lies there, and raises Error("timed_out"), naming the holders, at the deadline.
        Call publish() after the step, or after several.
        """
        optimizer.register_step_pre_hook(lambda *_: self._begin_step(deadline))

    def close(self) -> None:
        if self._write is not None:
            self._write.drop()
        self.publisher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _begin_step(self, deadline: float | None) -> None:
        self._begin(deadline)

    def _begin(self, deadline: float | None) -> _session.Write:
        if self._write is None:
            self._write = self.publisher.begin_write(deadline=deadline)
        return self._write

    def _fill(self, write: _session.Write) -> None:
        """Copies what does not lie in the slab already."""
        held = {one.name: (one, iter(pieces_of(one.local, one.boxes))) for one in self._held()}
        shards = write.shards()
        if {shard[0] for shard in shards} != {name for name, (one, _) in held.items() if one.boxes and 0 not in one.shape}:
            raise Error("invalid_argument", f"{self.publisher.name}: the module has other tensors than when its publisher was made")
        pieces = [(held[name][0], next(held[name][1], _NOTHING)) for name, *_ in shards]
        if self.slabs > 1 and all(_cast_on_the_way(one) for one, _ in pieces):
            write.copy_from([(one.name, piece) for one, piece in pieces], cast=True)
            return
        for i, (one, piece) in enumerate(pieces):
            if self.slabs == 1 and piece.data_ptr() == write.region(i).address:
                continue
            write.copy(i, piece if _cast_on_the_way(one) else piece.to(torch_dtype(one.dtype)), cast=True)

    def _held(self) -> list[_Held]:
        with torch.no_grad():  # else each DTensor's local one is recorded for a backward pass, which takes longer than all else here
            return [self._describe(name, tensor, local) for name, tensor, local in _named(self.source, self._names)]

    def _describe(self, name: str, tensor: torch.Tensor, local: torch.Tensor) -> _Held:
        dtype, shape, boxes = dtype_name(self._wire(name, tensor.dtype)), tuple(tensor.shape), self._boxes(name, tensor, local)
        if dtype == "F4":  # torch counts pairs
            shape = _pairs(shape)
            boxes = [(_pairs(offset), _pairs(size)) for offset, size in boxes]
        return _Held(name, dtype, shape, tensor, local, boxes)

    def _boxes(self, name: str, tensor: Any, local: torch.Tensor) -> list[Box]:
        shape = tuple(tensor.shape)
        if not hasattr(tensor, "placements"):
            return [((0,) * len(shape), shape)]
        mesh = tensor.device_mesh
        key = (shape, tensor.placements, mesh)
        if key not in self._known:
            where = mesh.get_coordinate()
            found = [] if where is None else boxes_of(shape, tensor.placements, mesh.mesh.shape, where)
            if sum(math.prod(size) for _, size in found) != local.numel():
                raise Error("unsupported", f"{name}: this rank holds {tuple(local.shape)} of {shape}, which {tensor.placements} does not explain")
            self._known[key] = found
        return self._known[key]

    def _wire(self, name: str, dtype: torch.dtype) -> torch.dtype:
        if self._dtype is None or not dtype.is_floating_point:
            return dtype
        return self._dtype if isinstance(self._dtype, torch.dtype) else self._dtype(name, dtype)


_NOTHING = torch.empty(0)


def _layout_of(held: Sequence[list[tuple[str, str, tuple[int, ...], list[Box]]]]) -> Layout:
    """Of what each rank holds. Ranks may hold different tensors (pipeline stages, experts)."""
    specs: dict[str, tuple[str, tuple[int, ...]]] = {}
    for rank, tensors in enumerate(held):
        for name, dtype, shape, _ in tensors:
            first = specs.setdefault(name, (dtype, shape))
            if first != (dtype, shape):
                raise Error("invalid_argument", f"{name} is {dtype} {list(shape)} on rank {rank} and {first[0]} {list(first[1])} on one before it")
    shards = [(rank, name, *box) for rank, tensors in enumerate(held) for name, _, _, boxes in tensors for box in boxes]
    return Layout(Manifest([(name, dtype, shape) for name, (dtype, shape) in specs.items()]), len(held), shards)


def _pairs(dims: tuple[int, ...]) -> tuple[int, ...]:
    return (*dims[:-1], dims[-1] * 2)


def publisher(
    session: _session.Session, name: str, source: Source, *, names: Names = None, dtype: Dtypes = None, group: Any = None, run: str = "", **options: Any
) -> ModulePublisher:
    """On every rank of `group` (the default process group, if there is one), which takes a message where `run` is not given.

    `dtype`: what floating-point tensors are published as (torch.bfloat16 for FP32 masters), or a function of name and type; None: as
    they are. Other options are Session.publisher's. Tensors of the module may be exchanged for others between publications, of the
    same names, shapes and placements.
    """
    return ModulePublisher(session, name, source, names=names, dtype=dtype, group=group, run=run, options=options)


def _members(group: Any) -> tuple[int, list[int]]:
    """This process's place in the group, and the group's ranks in the world."""
    if not dist.is_available() or not dist.is_initialized():
        return 0, [0]
    ranks = dist.get_process_group_ranks(group if group is not None else dist.group.WORLD)
    return ranks.index(dist.get_rank()), ranks


def _cast_on_the_way(one: _Held) -> bool:
    """Whether C++ makes the published type in its own pass; else torch does before, one tensor at a time."""
    return dtype_name(one.local.dtype) in (one.dtype, "F32") and one.dtype in ("BF16", dtype_name(one.local.dtype))


def _local(tensor: Any) -> torch.Tensor:
    local: torch.Tensor = tensor.to_local() if hasattr(tensor, "placements") else tensor
    return local.detach()
