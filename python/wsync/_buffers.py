"""Where a tensor's bytes lie: torch's methods, an array interface, the buffer protocol, or DLPack. Nothing is copied."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ._error import Error
from ._wsync import borrow, normal_dtype

_BY_TYPESTR = {
    "b1": "BOOL", "u1": "U8", "i1": "I8", "i2": "I16", "u2": "U16", "f2": "F16", "i4": "I32",
    "u4": "U32", "f4": "F32", "f8": "F64", "i8": "I64", "u8": "U64", "c8": "C64",
}  # fmt: skip


class Bytes(NamedTuple):
    """A contiguous stretch of host memory. `owner` keeps it."""

    address: int
    nbytes: int
    dtype: str  # "" where wsync has no name for it
    shape: tuple[int, ...]
    owner: object


def bytes_of(name: str, value: Any) -> Bytes:
    """Error("invalid_argument") when the value is no tensor, or not contiguous; Error("unsupported") on a device."""
    if hasattr(value, "data_ptr"):  # torch, without importing it
        return _of_torch(name, value)
    if hasattr(value, "__array_interface__"):  # also what the buffer protocol can't spell: bf16 of ml_dtypes
        return _of_array(name, value)
    try:
        held = borrow(value)
    except (TypeError, BufferError) as why:
        what = type(value).__name__
        raise Error("invalid_argument", f"{name} is a {what} ({why}): give a contiguous tensor or array, or anything with the buffer protocol or DLPack") from why
    return Bytes(held.address, held.nbytes, held.dtype, held.shape, held)


def bytes_of_all(tensors: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> list[tuple[str, Bytes]]:
    items = tensors.items() if isinstance(tensors, Mapping) else tensors
    return [(name, bytes_of(name, value)) for name, value in items]


def _of_torch(name: str, value: Any) -> Bytes:
    if value.device.type != "cpu":
        raise Error("unsupported", f"{name} is on {value.device}: only host memory can be published")
    if not value.is_contiguous():
        raise Error("invalid_argument", f"{name} is not contiguous: give its contiguous()")
    dtype = normal_dtype(str(value.dtype))
    shape = tuple(value.shape)
    if dtype == "F4":
        shape = (*shape[:-1], shape[-1] * 2)  # torch counts pairs
    return Bytes(value.data_ptr(), value.nbytes, dtype, shape, value)


def _of_array(name: str, value: Any) -> Bytes:
    face = value.__array_interface__
    typestr = str(face["typestr"])
    shape = tuple(face["shape"])
    if face.get("strides") is not None:
        raise Error("invalid_argument", f"{name} is not contiguous: give numpy.ascontiguousarray of it")
    if typestr[0] == ">":
        raise Error("unsupported", f"{name} is big-endian")
    dtype = normal_dtype(str(value.dtype)) if typestr[1] == "V" else _BY_TYPESTR.get(typestr[1:], "")
    return Bytes(int(face["data"][0]), math.prod(shape) * int(typestr[2:]), dtype, shape, value)
