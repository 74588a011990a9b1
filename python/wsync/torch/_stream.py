"""Publishing what comes one tensor at a time, whole: generators of trainers and frameworks."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import torch

from .._error import Error
from .._session import Publisher, Session
from .._wsync import Manifest, Version
from ._views import dtype_name, torch_dtype

Specs = list[tuple[str, str, tuple[int, ...]]]  # (name, dtype, shape)


class StreamPublisher:
    """Of one process that is given whole tensors in the same order each time. One thread.

    `specs`: what will come, if it is known; else the first publication finds it out, which takes a copy of all tensors in memory, once.
    `dtype`: what floating-point tensors are published as; None: as they are.
    """

    def __init__(self, session: Session, name: str, *, specs: Specs | None = None, dtype: torch.dtype | None = None, **options: Any) -> None:
        self.session = session
        self.name = name
        self._dtype = dtype
        self._options = options
        self.publisher: Publisher | None = None
        if specs is not None:
            self._open(specs)

    def publish(self, tensors: Iterable[tuple[str, torch.Tensor]], *, step: int, deadline: float | None = 30.0) -> Version:
        """A tensor may be written over as soon as the next one is asked for. Error("invalid_argument") names what is not as it was."""
        if self.publisher is None:
            tensors = [(name, tensor.detach().clone()) for name, tensor in tensors]
            self._open([(name, dtype_name(self._wire(one)), tuple(one.shape)) for name, one in tensors])
        assert self.publisher is not None
        with self.publisher.begin_write(deadline=deadline) as write:
            shards = iter(enumerate(write.shards()))
            for name, tensor in tensors:
                if not tensor.numel():
                    continue  # it has no shard
                i, (expected, dtype, _, _) = next(shards, (-1, ("nothing more", "", (), ())))
                if name != expected:
                    raise Error("invalid_argument", f"{name} comes where {expected} is expected")
                own = tensor.detach().contiguous()
                write.copy(i, own if (dtype_name(own.dtype), dtype) == ("F32", "BF16") else own.to(torch_dtype(dtype)), cast=True)
            for _, (expected, *_) in shards:
                raise Error("invalid_argument", f"the tensors end before {expected}")
            return self.publisher.publish(write, step=step)

    def close(self) -> None:
        if self.publisher is not None:
            self.publisher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _wire(self, tensor: torch.Tensor) -> torch.dtype:
        return self._dtype if self._dtype is not None and tensor.is_floating_point() else tensor.dtype

    def _open(self, specs: Specs) -> None:
        self.publisher = self.session.publisher(self.name, source=Manifest(specs), **self._options)
