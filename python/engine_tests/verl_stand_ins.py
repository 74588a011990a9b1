"""What verl's manager drives here: actors and rollouts of its classes, with a model and an inference engine of a few tensors."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import torch
from verl.checkpoint_engine.base import CheckpointEngineRegistry
from verl.single_controller.base import Worker
from verl.single_controller.base.decorator import Dispatch, register
from verl.utils.import_utils import import_external_libs


def parameters(step: int) -> dict[str, torch.Tensor]:
    """Of a step: types, an empty tensor and a scalar among them."""
    rng = torch.Generator().manual_seed(step)
    found: dict[str, torch.Tensor] = {}
    for layer in range(4):
        found[f"layers.{layer}.weight"] = torch.randn(257, 129, generator=rng).to(torch.bfloat16)
        found[f"layers.{layer}.bias"] = torch.randn(257, generator=rng)
    found["experts.weight"] = torch.randint(0, 256, (1 << 20,), generator=rng, dtype=torch.uint8)
    found["empty"] = torch.empty(0, 8)
    found["scale"] = torch.tensor(float(step))
    return found


def digests(tensors: dict[str, torch.Tensor]) -> dict[str, list[Any]]:
    return {name: digest(tensor) for name, tensor in tensors.items()}


def digest(tensor: torch.Tensor) -> list[Any]:
    raw = tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return [str(tensor.dtype), list(tensor.shape), hashlib.sha256(raw).hexdigest()]


class Actor(Worker):
    """Does what verl's own actor worker does with its checkpoint engine."""

    def __init__(self, backend: str, module: str, options: dict[str, Any]) -> None:
        super().__init__()
        import_external_libs(module)
        self.checkpoint_engine = CheckpointEngineRegistry.new(backend, is_master=self.rank == 0, bucket_size=1 << 20, **options)
        self.given = 0

    @register(dispatch_mode=Dispatch.ONE_TO_ALL, blocking=False)
    async def update_weights(self, global_steps: int | None = None, mode: str = "auto") -> Any:
        assert mode == "wsync"
        return await self.checkpoint_engine.send_weights(self._yielded(global_steps or 0), global_steps=global_steps)

    @register(dispatch_mode=Dispatch.DP_COMPUTE, blocking=False)
    def execute_checkpoint_engine(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.checkpoint_engine, method)(*args, **kwargs)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def count(self) -> int:
        """How many tensors were taken from it: each rank must take all, as yielding them is a collective."""
        return self.given

    def _yielded(self, step: int) -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in parameters(step).items():
            self.given += 1
            yield name, tensor


class Adapter:
    """In the place of a rollout's server adapter: takes the weights one at a time, and writes down what came."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.replica_rank = 0
        self.is_leader_rank = True

    async def update_weights(self, weights: AsyncIterator[tuple[str, torch.Tensor]], *, global_steps: int, wire_format: str) -> None:
        assert wire_format == "named_tensors"
        found = {name: digest(tensor) async for name, tensor in weights}
        (self.folder / f"rollout-{os.environ['RANK']}-step-{global_steps}.json").write_text(json.dumps(found))


class Replica:
    """A rollout replica, as the manager sees it; keeps what it was told."""

    def __init__(self, workers: list[Any]) -> None:
        self.workers = workers
        self.told: list[str] = []

    async def abort_all_requests(self, reject_request: bool = False) -> None:
        self.told.append("abort")

    async def release_kv_cache(self) -> None:
        self.told.append("release")

    async def resume_kv_cache(self) -> None:
        self.told.append("restore")

    async def resume_generation(self) -> None:
        self.told.append("resume")
