"""The worker's side: a function that SGLang calls with an order in the place of tensors. It never raises: an exception would end the engine."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from .. import torch as wsync_torch
from .._error import Error
from .._events import report_event
from .._follower import Follower
from .._session import StagedVersion
from ._order import Answer, Order


def load_weights(model: torch.nn.Module, named_tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """For --custom-weight-loader wsync.sglang.load_weights. What went wrong is in the answer that the controller reads."""
    try:
        order = Order.read(list(named_tensors))
    except Exception as why:
        report_event("failure", f"an order that can't be read: {why}", stage="order", code="invalid_argument")
        return  # the controller misses the answer
    rank = _rank()
    try:
        worker = _WORKERS.setdefault((order.control, order.name), _Worker())
        worker.stage(order, rank)
        metrics: dict[str, Any] = {}
        if order.act == "install":
            metrics = worker.install(model, rank)
        answer = Answer(rank, "", "", metrics)
    except BaseException as why:
        traceback.clear_frames(why.__traceback__)  # they have views of the version
        code, message = (why.code, why.message) if isinstance(why, Error) else ("internal", f"{type(why).__name__}: {why}")
        report_event("failure", f"rank {rank}: {message}", name=order.name, version=order.label, peer=f"sglang rank {rank}", stage=order.act, code=code)
        answer = Answer(rank, code, message)
    try:
        answer.write(Path(order.answers), order.call)
    except OSError as why:
        report_event("failure", f"rank {rank} can't answer: {why}", name=order.name, version=order.label, stage="answer", code="io_error")


class _Worker:
    """What stays open in one worker between calls. SGLang has no call that ends it; it ends with the process."""

    def __init__(self) -> None:
        self.follower: Follower | None = None
        self.staged: StagedVersion | None = None
        self.known: dict[str, tuple[str, tuple[int, ...]]] = {}  # of what was installed: names, types, shapes

    def stage(self, order: Order, rank: int) -> None:
        if self.staged is not None and self.staged.version.label == order.label:
            return
        if self.staged is not None:
            self.staged.drop()
            self.staged = None
        if self.follower is None:
            self.follower = Follower(order.control, order.name, id=f"sglang rank {rank}", **order.options)
        staged = self.follower.stage(label=order.label, deadline=order.deadline)
        try:
            self._check(staged)
        except BaseException:
            staged.drop()
            raise
        self.staged = staged

    def install(self, model: torch.nn.Module, rank: int) -> dict[str, Any]:
        assert self.follower is not None and self.staged is not None
        began = time.monotonic()
        tensors = wsync_torch.tensors(self.staged.tensors())
        have = {name: (str(one.dtype), tuple(one.shape)) for name, one in tensors.items()}
        with torch.no_grad():
            model.load_weights((name, tensors.pop(name)) for name in list(tensors))  # type: ignore[operator, unused-ignore]
        if next(model.parameters()).device.type != "cpu":
            torch.accelerator.synchronize()  # before the hold ends
        seconds = time.monotonic() - began
        report = self.follower.activate(self.staged)
        self.staged, self.known = None, have
        report.add_stage("install", seconds)
        report_event("install", f"installed {report.version} in {seconds * 1e3:.1f} ms", name=report.name, version=report.version, step=report.step,
                     peer=f"sglang rank {rank}", stage="install", seconds=seconds, metrics=report.metrics())  # fmt: skip
        return dict(report.metrics())

    def _check(self, staged: StagedVersion) -> None:
        """SGLang's loaders pass over what they don't know and keep what they don't get, so a set must be the one that was installed before."""
        if not self.known:
            return
        have = {name: (str(one.dtype), tuple(one.shape)) for name, one in wsync_torch.tensors(staged.tensors()).items()}
        for name in self.known.keys() | have.keys():
            if self.known.get(name) != have.get(name):
                raise Error("invalid_argument", f"{staged.version.label}: {name} is {have.get(name)}, and was {self.known.get(name)} in the version before")


_WORKERS: dict[tuple[str, str], _Worker] = {}


def _rank() -> int:
    """This worker's tensor parallel rank; 0 outside SGLang."""
    try:
        from sglang.srt.runtime_context import get_parallel

        return int(get_parallel().tp_rank)
    except Exception:
        pass
    try:
        from sglang.srt.distributed import get_tensor_model_parallel_rank

        return int(get_tensor_model_parallel_rank())
    except Exception:
        return 0
