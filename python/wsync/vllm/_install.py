"""Handing a whole, checked set to the model's own loader, and putting the model together again when that fails."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch

from .._error import Error
from ._twin import as_loaded

Result = TypeVar("Result")


def install(model: torch.nn.Module, model_config: Any, weights: Iterable[tuple[str, torch.Tensor]], *, layerwise: bool) -> None:
    """By layers: each is loaded beside the live one, made what the kernels want, and copied over it. Directly: into the live parameters."""
    if not layerwise:
        with torch.no_grad():
            model.load_weights(weights)
        return
    from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

    with torch.no_grad():
        initialize_layerwise_reload(model)
        model.load_weights(weights)
        finalize_layerwise_reload(model, model_config)
        _pack_tied_again(model)


def changed_after_loading(model: torch.nn.Module) -> str:
    """The name of something that vLLM keeps in another form than it was loaded in, so that it can't be loaded directly; "" for nothing."""
    for name, module in model.named_modules():
        if _is_packed(module):
            return f"{name}.weight"
        before, _ = as_loaded(module)
        for key, was in before.items():
            now = module._parameters.get(key)
            if now is None or now.shape != was.shape or now.dtype != was.dtype:
                return f"{name}.{key}"
    return ""


def _is_packed(module: torch.nn.Module) -> bool:
    """Whether it computes with a copy of its weight: on CPUs vLLM packs one for oneDNN or AMX, and keeps it in a function."""
    return bool(getattr(getattr(module, "cpu_linear", None), "__closure__", None))


def _pack_tied_again(model: torch.nn.Module) -> None:
    """vLLM's reload by layers packs a layer when its tensors come. A tied lm_head has none of its own, and would go on with the old copy."""
    owners: dict[int, int] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    for module in model.modules():
        if _is_packed(module) and any(owners.get(id(one), 0) > 1 for one in module._parameters.values()):
            module.quant_method.process_weights_after_loading(module)


def abandon(model: torch.nn.Module, model_config: Any) -> None:
    """After install failed: layers that were not done get their own tensors back, so that no meta tensor is left in the model."""
    from vllm.model_executor.model_loader.reload import finalize_layerwise_reload
    from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info

    with torch.no_grad():
        for layer in model.modules():
            info = get_layerwise_info(layer)
            if info.can_load():
                info.loaded_weights.clear()
                info.load_numel = 0
        finalize_layerwise_reload(model, model_config)


def agree(act: Callable[[], Result], consequence: str) -> Result:
    """Acts; then raises if this rank or another of the replica's failed: all return what `act` did, or all raise."""
    problem: BaseException | None = None
    done: list[Result] = []
    try:
        done.append(act())
    except Exception as why:
        problem = why
        let_go(why)
    failed = [one for one in _exchange(_described(problem)) if one is not None]
    if problem is not None:
        if isinstance(problem, Error):
            raise problem
        raise Error("internal", f"{_described(problem)}; {consequence}") from problem
    if failed:
        raise Error("cancelled", f"another rank of this replica failed ({failed[0]}); {consequence}")
    return done[0]


def let_go(problem: BaseException | None) -> None:
    """The frames that an exception remembers have views of the version, and would keep its hold as long as somebody keeps the exception."""
    while problem is not None:
        traceback.clear_frames(problem.__traceback__)
        problem = problem.__cause__ or problem.__context__


def _described(problem: BaseException | None) -> str | None:
    return None if problem is None else f"{type(problem).__name__}: {problem}"


def _exchange(own: str | None) -> list[str | None]:
    from vllm.distributed.parallel_state import get_pp_group, get_tp_group

    known: list[str | None] = [own]
    for group in (get_tp_group(), get_pp_group()):
        if group.world_size > 1:
            rows: list[Any] = [None] * group.world_size
            torch.distributed.all_gather_object(rows, known, group=group.cpu_group)
            known = [one for row in rows for one in row]
    return known
