"""Handing a whole, checked set to the model's own loader, and putting the model together again when that fails."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from typing import Any

import torch

from .._error import Error


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


def agree(act: Callable[[], None], consequence: str) -> None:
    """Acts; then raises if this rank or another of the replica's failed: all return, or all raise."""
    problem: BaseException | None = None
    try:
        act()
    except Exception as why:
        problem = why
        _let_go(why)
    failed = [one for one in _exchange(_described(problem)) if one is not None]
    if problem is not None:
        if isinstance(problem, Error):
            raise problem
        raise Error("internal", f"{_described(problem)}; {consequence}") from problem
    if failed:
        raise Error("cancelled", f"another rank of this replica failed ({failed[0]}); {consequence}")


def _let_go(problem: BaseException | None) -> None:
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
