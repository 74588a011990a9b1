"""Which boxes of a tensor a rank holds: from a DTensor's placements, for every rank alike, without a message.

Nothing here needs a process group. A run is (start, length) along one dimension; a rank may hold several, since `_StridedShard`
deals out more than one piece.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from .._error import Error

Run = tuple[int, int]
Box = tuple[tuple[int, ...], tuple[int, ...]]  # offset, size


def boxes_of(shape: Sequence[int], placements: Sequence[Any], mesh_shape: Sequence[int], coordinate: Sequence[int]) -> list[Box]:
    """Of the rank at `coordinate` of the mesh, ordered by offset; [] where it holds nothing. Error("unsupported") for a partial sum."""
    runs: list[list[Run]] = [[(0, size)] for size in shape]
    for placement, parts, index in zip(placements, mesh_shape, coordinate, strict=True):
        if placement.is_partial():
            raise Error("unsupported", f"the placement {placement} is a sum that was not made yet: redistribute it to Shard or Replicate first")
        if placement.is_replicate():
            continue
        dim = placement.dim % len(shape)
        runs[dim] = _split(runs[dim], parts, index, int(getattr(placement, "split_factor", 1)))
    return [
        (tuple(start for start, _ in corner), tuple(length for _, length in corner))
        for corner in itertools.product(*runs)
        if all(length > 0 for _, length in corner)
    ]


def pieces_of(local: Any, boxes: Sequence[Box]) -> list[Any]:
    """The parts of a local tensor that the boxes are, in their order; views, but where a piece would have gaps."""
    if len(boxes) < 2:
        return [local] if boxes else []
    rank = local.dim()
    sides = [sorted({(offset[d], size[d]) for offset, size in boxes}) for d in range(rank)]
    begins = []  # of each run, in the local tensor
    for side in sides:
        ends = list(itertools.accumulate((length for _, length in side), initial=0))
        begins.append({run: ends[i] for i, run in enumerate(side)})
    found = []
    for offset, size in boxes:
        piece = local
        for d in range(rank):
            piece = piece.narrow(d, begins[d][offset[d], size[d]], size[d])
        found.append(piece.contiguous())
    return found


def _chunk(length: int, parts: int, index: int) -> Run:
    """As torch.chunk cuts: all but the last ones are of one size; some may be empty."""
    each = -(-length // parts)
    start = min(index * each, length)
    return start, min(each, length - start)


def _split(runs: Sequence[Run], parts: int, index: int, split_factor: int) -> list[Run]:
    total = sum(length for _, length in runs)
    taken: list[Run] = []
    for outer in range(split_factor):  # the cut that was there before: 1, unless strided
        start, length = _chunk(total, split_factor, outer)
        inner, size = _chunk(length, parts, index)
        taken += _take(runs, start + inner, size)
    merged: list[Run] = []
    for start, length in taken:
        if merged and sum(merged[-1]) == start:
            merged[-1] = (merged[-1][0], merged[-1][1] + length)
        else:
            merged.append((start, length))
    return merged


def _take(runs: Sequence[Run], start: int, length: int) -> list[Run]:
    """`length` of what the runs are together, from `start` on."""
    taken = []
    for begin, size in runs:
        if length <= 0:
            break
        if start < size:
            here = min(size - start, length)
            taken.append((begin + start, here))
            length -= here
            start = 0
        else:
            start -= size
    return taken
