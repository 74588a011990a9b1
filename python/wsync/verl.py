"""verl's checkpoint engine "wsync": hop 1 of its weights, from the actors to the processes beside the rollouts.

    actor_rollout_ref.rollout.checkpoint_engine:
        backend: wsync
        custom_backend_module: wsync.verl
        engine_kwargs: {wsync: {control: "dir:/run/policy"}}

docs/verl.md has the rest.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, Iterable
from typing import Any

import torch
from verl.checkpoint_engine.base import CheckpointEngine, CheckpointEngineRegistry

from . import torch as wsync_torch
from ._error import Error
from ._events import report_event
from ._follower import Follower, How
from ._session import Session
from ._wsync import SyncReport, Version


@CheckpointEngineRegistry.register("wsync")  # type: ignore[arg-type, misc, untyped-decorator, unused-ignore]
class WsyncCheckpointEngine(CheckpointEngine):
    """One worker's. verl calls prepare, init_process_group and finalize in every step; what they opened stays open over steps.

    Actor rank 0 publishes the whole tensors that verl yields; the other actors only take part in what yielding them needs. A rollout's
    tensors are views of the verified version where it lies: READ-ONLY, and good until the generator is asked for the next one.
    `bucket_size` is verl's; wsync needs no bucket. `dtype`: what floating-point tensors are published as ("bfloat16"); "": as they come.
    """

    wire_format = "named_tensors"

    def __init__(
        self, bucket_size: int, is_master: bool = False, *, control: str, name: str = "policy", dtype: str = "", use: How = "auto",
        transports: Iterable[str] = (), verification: Any = "content", threads: int = 1, slabs: int = 2, socket_directory: str = "",
        tcp_host: str = "127.0.0.1", deadline: float = 120.0,
    ) -> None:  # fmt: skip
        del bucket_size
        self.is_master = is_master
        self.deadline = deadline
        self.report: SyncReport | None = None  # of a rollout's last version
        self._control = control
        self._name = name
        self._dtype = getattr(torch, dtype) if dtype else None
        self._where: dict[str, Any] = {"socket_directory": socket_directory, "tcp_host": tcp_host}
        self._following: dict[str, Any] = {"use": use, "transports": tuple(transports), "verification": verification, "threads": threads}
        self._slabs = slabs
        self._threads = threads
        self._role = ""
        self._session: Session | None = None
        self._publisher: wsync_torch.StreamPublisher | None = None
        self._follower: Follower | None = None
        self._before: Version | None = None  # the newest before the actors publish
        self._step = 0

    def prepare(self) -> dict[str, Any]:
        """Nothing is registered, and no address needs to be told: records under `control` say where a version lies."""
        return {"host": socket.gethostname()}

    @classmethod
    def build_topology(cls, actor_wg_world_size: int, rollout_world_size: int, metadata: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
        del metadata
        actors = ["publish"] + ["take part"] * (actor_wg_world_size - 1)
        return {"role": actors, "rank": list(range(actor_wg_world_size))}, {"role": ["receive"] * rollout_world_size, "rank": list(range(rollout_world_size))}

    def init_process_group(self, role: str, rank: int, **_: Any) -> None:
        """Before the actors send: a rollout takes down which version is the newest, so that it waits for another."""
        self._role = role
        if role != "receive":
            return
        if self._follower is None:
            self._follower = Follower(self._control, self._name, id=f"verl {socket.gethostname()} rollout {rank}", **self._following, **self._where)
        self._before = self._follower.newest()

    async def send_weights(self, weights: Iterable[tuple[str, torch.Tensor]], global_steps: int | None = None) -> dict[str, float]:
        """On every actor: yielding a tensor is a collective. The figures go to verl's trainer."""
        if self._role != "publish":
            for _ in weights:
                pass
            return {}
        began = time.monotonic()
        if self._publisher is None:
            self._session = Session.open(self._control, **self._where)
            self._publisher = wsync_torch.StreamPublisher(self._session, self._name, dtype=self._dtype, slabs=self._slabs, threads=self._threads)
        self._step = self._step + 1 if global_steps is None else global_steps
        version = self._publisher.publish(weights, step=self._step, deadline=self.deadline)
        return {"wsync/publish_seconds": time.monotonic() - began, "wsync/epoch": float(version.epoch), "wsync/number": float(version.number)}

    async def receive_weights(self, global_steps: int | None = None) -> AsyncGenerator[tuple[str, torch.Tensor], None]:
        """Yields nothing before the whole version is here and verified. It is active when the consumer has taken the last tensor."""
        if self._follower is None:
            raise Error("invalid_argument", "call init_process_group before receive_weights")
        staged = await asyncio.to_thread(self._follower.stage, after=self._before, deadline=self.deadline)
        with staged:
            if global_steps is not None and staged.version.step != global_steps:
                raise Error("unavailable", f"step {global_steps} is asked for, but {staged.version.label} is of step {staged.version.step}")
            began = time.monotonic()
            table = wsync_torch.tensors(staged.tensors())
            for name in list(table):
                yield name, table.pop(name)  # no view of it stays here, so that its hold can end
            report = self._follower.activate(staged)
        report.add_stage("install", time.monotonic() - began)
        self.report = report
        report_event("install", f"handed {report.version} to the rollout", name=self._name, version=str(report.version), step=report.step,
                     peer=self._follower.id, stage="install", seconds=time.monotonic() - began, metrics=report.metrics())  # fmt: skip

    def finalize(self) -> None:
        """Everything stays open for the next step; it ends with the process, or with close()."""

    def close(self) -> None:
        for one in (self._publisher, self._follower, self._session):
            if one is not None:
                one.close()
        self._publisher = self._follower = self._session = None
