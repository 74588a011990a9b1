"""A model's whole next state, made beside it while it serves, and put in its place at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from .._error import Error
from ._rehearsal import Rehearsal
from ._twin import twin_of

_TENSORS = ("_parameters", "_buffers")
_GROUPS = (*_TENSORS, "_modules")
_NOTHING = object()  # the value of an attribute that isn't there


@dataclass
class Prepared:
    """On CPUs the model's tensors and packed copies are exchanged for the new ones; exchanging them again brings the old ones back. On
    devices, where captured graphs know addresses, values are copied."""

    values: list[tuple[Any, str, Any]] = field(default_factory=list)  # of what, which attribute, what it becomes
    copies: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)  # to, from
    attention: list[tuple[torch.nn.Module, Any]] = field(default_factory=list)  # layers that vLLM processes last, with the type they compute in

    def put_in(self) -> None:
        """When this raises, what could be exchanged has been exchanged back."""
        with torch.no_grad():
            self._exchange()
            try:
                for to, new in self.copies:
                    to.copy_(new)
                for layer, dtype in self.attention:
                    layer.process_weights_after_loading(dtype)
            except BaseException:
                self._exchange()
                raise

    def _exchange(self) -> None:
        for i, (holder, name, value) in enumerate(self.values):
            if isinstance(holder, torch.Tensor):
                old, holder.data = holder.data, value
            else:
                old = vars(holder).pop(name, _NOTHING)
                if value is not _NOTHING:
                    vars(holder)[name] = value
            self.values[i] = (holder, name, old)


def prepare(
    model: torch.nn.Module, model_config: Any, rehearsal: Rehearsal, given: Mapping[str, torch.Tensor], *, copying: bool, go_on: Callable[[], None]
) -> Prepared:  # fmt: skip
    """Loads `given`, which the rehearsal found whole, into a twin of the model, and processes each layer for its kernels as vLLM does.
    Nothing of the model's is touched. `go_on` is called between tensors and layers; it raises when this is to be given up."""
    methods = dict(_methods(model))
    device = next((one.device for one in model.parameters()), torch.device("cpu"))
    with torch.no_grad():
        twin = twin_of(model, device)
        twin.load_weights(_in_order(rehearsal.order, given, go_on))
        for name, layer in twin.named_modules():
            if name in methods:
                go_on()
                methods[name].process_weights_after_loading(layer)
        prepared = _difference(model, twin, rehearsal, copying)
    prepared.attention = [(layer, model_config.dtype) for layer in model.modules() if _processed_last(layer)]
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return prepared


def _in_order(names: Iterable[str], given: Mapping[str, torch.Tensor], go_on: Callable[[], None]) -> Iterator[tuple[str, torch.Tensor]]:
    for name in names:
        go_on()
        yield name, given[name]


def _processed_last(layer: torch.nn.Module) -> bool:
    """An attention layer that vLLM processes when all weights are there. vLLM says which from 0.28 on; before, it had this in place."""
    from vllm.model_executor.layers import attention

    says = getattr(attention, "is_deferred_attention_layer", None)
    if says is not None:
        return bool(says(layer))
    from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase

    return isinstance(layer, (AttentionLayerBase, attention.MMEncoderAttention)) and hasattr(layer, "process_weights_after_loading")


def _methods(model: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """What processes each layer; of those alone that keep nothing of a layer in themselves, where its twin would meet it."""
    from vllm.model_executor.layers.linear import UnquantizedLinearMethod
    from vllm.model_executor.layers.quantization.base_config import QuantizeMethodBase
    from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod

    for name, layer in model.named_modules():
        method = getattr(layer, "quant_method", None)
        if type(method) in (UnquantizedLinearMethod, UnquantizedEmbeddingMethod):
            yield name, method
        elif isinstance(method, QuantizeMethodBase):
            raise _unsupported(f"{name} is processed by {type(method).__name__}")


def _difference(model: torch.nn.Module, twin: torch.nn.Module, rehearsal: Rehearsal, copying: bool) -> Prepared:
    """What has to change in the model to make it what its twin is."""
    prepared = Prepared()
    shared = _shared_storages(model)
    seen: set[int] = set()
    for (prefix, layer), other in zip(model.named_modules(), twin.modules(), strict=True):
        for group in _TENSORS:
            for key, new in vars(other)[group].items():
                name = f"{prefix}.{key}"
                own = vars(layer)[group].get(key)
                if own is None:
                    raise _unsupported(f"{name} is gone after loading")
                if id(own) in seen or _equal_buffers(group, own, new):
                    continue
                seen.add(id(own))
                fits = own.shape == new.shape and own.dtype == new.dtype
                if copying or own.untyped_storage().data_ptr() in shared:
                    if not fits:
                        raise _unsupported(f"{name} is kept in another form than it was loaded in")
                    prepared.copies.append((own, new))
                else:
                    prepared.values.append((own, "data", new.data))
        for key, value in vars(other).items():
            if key not in _GROUPS and vars(layer).get(key, _NOTHING) is not value:
                if copying:
                    raise _unsupported(f"{prefix}.{key} is made when it is loaded")
                prepared.values.append((layer, key, value))
    for name in rehearsal.left_out:
        if model.get_parameter(name).shape != twin.get_parameter(name).shape or not model.get_parameter(name).numel():
            raise _unsupported(f"{name} is left out of this version, but is kept in another form than it was loaded in")
    return prepared


def _equal_buffers(group: str, own: torch.Tensor, new: torch.Tensor) -> bool:
    return group == "_buffers" and own.shape == new.shape and own.dtype == new.dtype and torch.equal(own, new)


def _shared_storages(model: torch.nn.Module) -> set[int]:
    """Addresses of storages that several tensors of the model look into: exchanging one of these would leave the others with the old one."""
    owners: dict[int, set[int]] = {}
    for layer in model.modules():
        for one in (*layer._parameters.values(), *layer._buffers.values(), *vars(layer).values()):
            if isinstance(one, torch.Tensor) and one.numel() and not one.is_meta:
                owners.setdefault(one.untyped_storage().data_ptr(), set()).add(id(one))
    return {address for address, tensors in owners.items() if len(tensors) > 1}


def _unsupported(why: str) -> Error:
    return Error("unsupported", f'the next weights can\'t be prepared beside this model: {why}; use reload="layerwise"')
