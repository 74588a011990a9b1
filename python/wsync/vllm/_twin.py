"""A second set of a model's modules, for its own loader to write to while the first one serves."""

from __future__ import annotations

from collections.abc import Mapping
from types import MethodType
from typing import Any

import torch


def twin_of(model: torch.nn.Module, device: torch.device | None = None) -> torch.nn.Module:
    """The same modules, one for one and in the same order, with tensors of their own in the form that a checkpoint is loaded into, before
    vLLM changed them for its kernels. None: on the meta device, without memory. Else there; those that have the same form in the model
    start with what they hold in it, the others with anything. All that is no tensor is the model's own: the twin must not be run."""
    originals = list(model.modules())
    twins: dict[int, torch.nn.Module] = {}
    for module in originals:
        twin = object.__new__(type(module))
        twin.__dict__.update(module.__dict__)
        twins[id(module)] = twin
    made: dict[int, torch.Tensor] = {}  # by the model's own tensor, so that tied ones stay tied
    for module in originals:
        twin = twins[id(module)]
        twin.__dict__["_modules"] = {name: None if child is None else twins[id(child)] for name, child in module._modules.items()}
        for kind, before in zip(("_parameters", "_buffers"), as_loaded(module), strict=True):
            now: Mapping[str, Any] = module.__dict__[kind]
            tensors: dict[str, Any] = {}
            for name, value in before.items():
                own = now.get(name)
                if own is not None and own.shape != value.shape:
                    own = None
                key = id(value if own is None else own)
                if key not in made:
                    made[key] = _like(value, module, twins, device)
                    if device is not None and own is not None and own.dtype == value.dtype:
                        made[key].detach().copy_(own)
                tensors[name] = made[key]
            twin.__dict__[kind] = tensors
    return twins[id(model)]


def as_loaded(module: torch.nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Parameters and buffers in the checkpoint's form: vLLM recorded them, for reloading by layers."""
    now = tuple({name: one for name, one in group.items() if one is not None} for group in (module._parameters, module._buffers))
    try:
        from vllm.model_executor.model_loader.reload.layerwise import LAYERWISE_INFO
        from vllm.model_executor.model_loader.reload.meta import SKIP_MODULES, SKIP_TENSORS
    except ImportError:  # a vLLM without it loads into what is there
        return now[0], now[1]
    info = LAYERWISE_INFO.get(module)
    if info is None or type(module).__name__ in SKIP_MODULES:
        return now[0], now[1]
    kept = ({name: one for name, one in group.items() if name in SKIP_TENSORS} for group in now)
    parameters, buffers = ({**recorded, **own} for recorded, own in zip(info.restore_metadata, kept, strict=True))
    return parameters, buffers


def _like(tensor: Any, module: torch.nn.Module, twins: Mapping[int, torch.nn.Module], device: torch.device | None) -> Any:
    """One like a layer's tensor, with its class and attributes, but of the layer's twin."""
    if isinstance(tensor, torch.nn.parameter.UninitializedTensorMixin):
        return tensor
    made = torch.empty_strided(tuple(tensor.size()), tuple(tensor.stride()), dtype=tensor.dtype, device=device or "meta")
    made.__class__ = tensor.__class__
    made.__dict__ = dict(tensor.__dict__)
    for key, value in made.__dict__.items():
        while getattr(value, "__name__", "") == "online_process_loader":  # what an earlier reload by layers left on it
            value = made.__dict__[key] = value.__wrapped__
        if isinstance(value, MethodType):  # a loader of the layer's: of its twin's
            owner = twins.get(id(value.__self__))
            if owner is None and not isinstance(value.__self__, torch.nn.Module):
                owner = twins[id(module)]  # vLLM cuts the reference where it keeps the tensor
            if owner is not None:
                made.__dict__[key] = value.__func__.__get__(owner)
    return made
