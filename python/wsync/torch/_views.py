"""A version's tensors as torch tensors, where they lie."""

from __future__ import annotations

import torch

from .._error import Error
from .._tensors import Tensors
from .._wsync import normal_dtype

_DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16", "U16": "uint16", "F16": "float16", "BF16": "bfloat16", "I32": "int32",
    "U32": "uint32", "F32": "float32", "F64": "float64", "I64": "int64", "U64": "uint64", "C64": "complex64", "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn", "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz", "F8_E8M0": "float8_e8m0fnu",
}  # fmt: skip


def torch_dtype(name: str) -> torch.dtype:
    """Of a safetensors name ("BF16"). Error("unsupported") where this torch has none."""
    dtype = getattr(torch, _DTYPES.get(name, "?"), None)
    if not isinstance(dtype, torch.dtype):
        raise Error("unsupported", f"torch {torch.__version__} has no dtype for {name}")
    return dtype


def dtype_name(dtype: torch.dtype) -> str:
    """Safetensors' name of a torch type. Error("unsupported") where it has none."""
    name = normal_dtype(str(dtype))
    if not name:
        raise Error("unsupported", f"safetensors has no name for {dtype}")
    return name


def tensors(table: Tensors) -> dict[str, torch.Tensor]:
    """All tensors by name, without a copy. READ-ONLY, although torch can't say so: writing to one ends the process.

    The version, and with it its hold, lives while one of them does. Types of less than a byte come as torch's packed ones where it has
    them (F4), else as plain bytes. Error("invalid_argument") where several boxes of one tensor are here.
    """
    bases, names, runs = table.table.runs()
    chunks = [torch.frombuffer(chunk, dtype=torch.uint8) if chunk.nbytes else torch.empty(0, dtype=torch.uint8) for chunk in table.table.chunks(True)]
    typed = [_typed(chunks[chunk], dtype) if dtype else chunks[chunk] for chunk, dtype in bases]
    found: dict[str, torch.Tensor] = dict.fromkeys(names)  # in the layout's order
    if len(found) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Error("invalid_argument", f"several boxes of {twice} are here: iterate over boxes()")
    # One call of torch's for each run of equal tensors, and nothing else: with tens of thousands of them it is what this costs.
    for base, offset, size, stride, members in runs:
        found.update(zip(members, typed[base].as_strided(size, stride, offset).unbind(), strict=True))
    for base, *_, members in runs:
        if not bases[base][1]:
            for name in members:
                found[name] = _packed(table, name, found[name])
    return found


def _typed(raw: torch.Tensor, name: str) -> torch.Tensor:
    """A chunk as elements of a type, as many as are whole."""
    dtype = torch_dtype(name)
    return raw[: raw.numel() - raw.numel() % dtype.itemsize].view(dtype)


def _packed(table: Tensors, name: str, raw: torch.Tensor) -> torch.Tensor:
    """Bytes whose type has no place in whole elements: less than a byte, or not aligned to its element."""
    view = table[name]
    if view.dtype == "F4" and hasattr(torch, "float4_e2m1fn_x2"):
        return raw.view(torch.float4_e2m1fn_x2).view(*view.shape[:-1], view.shape[-1] // 2)
    if view.dtype in _DTYPES:
        return raw.clone().view(torch_dtype(view.dtype)).view(view.shape)
    return raw
