"""verl's own CheckpointEngineManager and CheckpointEngineWorker, in Ray actors, move weights by wsync."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.update(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0", RAY_worker_niceness="0")
# Ray's processes import the stand-ins by name.
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])

import ray
import verl_stand_ins as stand_ins
from verl.checkpoint_engine.base import CheckpointEngineManager, CheckpointEngineWorker
from verl.single_controller.ray import RayClassWithInitArgs, RayResourcePool, RayWorkerGroup
from verl.workers.config import CheckpointEngineConfig, RolloutConfig

ACTORS = 2
ROLLOUTS = 2


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(num_cpus=ACTORS + ROLLOUTS, include_dashboard=False, object_store_memory=200 << 20, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


class Fleet:
    """Two actors, two replicas of one rollout each, and verl's manager over them."""

    def __init__(self, folder: Path, **options: Any) -> None:
        options = {"control": f"dir:{folder}", "socket_directory": str(folder / "sockets"), "deadline": 30, **options}
        config = CheckpointEngineConfig(backend="wsync", engine_kwargs={"wsync": options}, custom_backend_module="wsync.verl")
        rollout = RolloutConfig(name="vllm", checkpoint_engine=config)
        self.pools: list[RayResourcePool] = []
        self.actors = self._group(ACTORS, RayClassWithInitArgs(ray.remote(stand_ins.Actor), "wsync", "wsync.verl", options))
        adapter = stand_ins.Adapter(str(folder))
        self.rollouts = self._group(ROLLOUTS, RayClassWithInitArgs(ray.remote(CheckpointEngineWorker), rollout, None, adapter))
        self.replicas = [stand_ins.Replica([worker]) for worker in self.rollouts.workers]
        self.manager = CheckpointEngineManager(config, self.actors, self.replicas)

    def _group(self, size: int, made: RayClassWithInitArgs) -> RayWorkerGroup:
        self.pools.append(RayResourcePool(process_on_nodes=[size], use_gpu=False, max_colocate_count=1))
        return RayWorkerGroup(resource_pool=self.pools[-1], ray_cls_with_init=made, device_name="cpu")

    def close(self) -> None:
        for worker in self.actors.workers + self.rollouts.workers:
            ray.kill(worker)
        for pool in self.pools:
            for group in pool.pgs:
                ray.util.remove_placement_group(group)


@pytest.mark.parametrize("options", [{}, {"use": "copy", "transports": ["tcp"]}], ids=["mapped", "tcp"])
def test_weights_reach_every_rollout(cluster: None, folder: Path, options: dict[str, Any]) -> None:
    fleet = Fleet(folder, **options)
    try:
        steps = (1, 2, 3, 7)
        for step in steps:
            metrics = fleet.manager.update_weights(global_steps=step)
            expected = stand_ins.digests(stand_ins.parameters(step))
            del expected["empty"]  # what has no bytes is not sent
            for rank in range(ROLLOUTS):
                assert json.loads((folder / f"rollout-{rank}-step-{step}.json").read_text()) == expected
            assert metrics["wsync/number"] == steps.index(step) + 1 and metrics["wsync/epoch"] == 1
        assert fleet.actors.count() == [len(steps) * len(stand_ins.parameters(1))] * ACTORS
        assert fleet.replicas[0].told == ["abort", "release", "restore", "resume"] * len(steps)
    finally:
        fleet.close()
