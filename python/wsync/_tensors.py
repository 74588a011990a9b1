"""The tensors of a version, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ._error import Error
from ._wsync import TensorTable, TensorView, Version


class Tensors(Mapping[str, TensorView]):
    """Read-only views of a version's tensors, where they lie. The version stays, and with it its hold, while this or a view lives.

    A view speaks the buffer protocol (`numpy.asarray(view)`, `memoryview(view)`) and DLPack (`torch.from_dlpack(view)`);
    `wsync.torch.tensors(staged.tensors())` makes all of them torch tensors at once. Where numpy has no such type (bf16, FP8,
    less than a byte) the buffer protocol gives plain bytes.
    """

    def __init__(self, table: TensorTable) -> None:
        self.table = table
        self._index: dict[str, int] | None = None

    @property
    def version(self) -> Version:
        return self.table.version

    def _indexes(self) -> dict[str, int]:
        if self._index is None:
            names = self.table.names()
            index = dict(zip(names, range(len(names)), strict=True))
            if len(index) != len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise Error("invalid_argument", f"several boxes of {twice} are here: iterate over boxes()")
            self._index = index
        return self._index

    def __getitem__(self, name: str) -> TensorView:
        return self.table.at(self._indexes()[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._indexes())

    def __len__(self) -> int:
        return len(self._indexes())

    def __contains__(self, name: object) -> bool:
        return name in self._indexes()

    def boxes(self) -> Iterator[TensorView]:
        """Every box that is here, in the layout's order; a tensor may have several."""
        return (self.table.at(i) for i in range(len(self.table)))

    def numpy(self) -> dict[str, Any]:
        """All as numpy arrays, read-only, without a copy."""
        import numpy

        return {name: numpy.asarray(view) for name, view in self.items()}
