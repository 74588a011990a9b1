"""checkpoint-engine's IPC protocol, as a producer: feeds engines that listen for `update_weights_from_ipc` (SGLang, vLLM's extension).

    with Producer("dir:/run/policy", ["GPU-1b2c..."]) as producer:
        report = producer.update(lambda addresses: post("/update_weights_from_ipc", {"zmq_handles": addresses}))

docs/checkpoint_engine.md has the rest.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import torch

from . import torch as wsync_torch
from ._error import Error
from ._events import failures, report_event
from ._follower import Follower
from ._wsync import SyncReport

Trigger = Callable[[dict[str, str]], object]  # makes the engine listen at these addresses, by device; returns when it is done
Batch = list[tuple[str, torch.Tensor]]

_ALIGNMENT = 256  # of each tensor in the buffer; the consumer refuses what is not aligned to its type


class Producer:
    """Follows a publisher, and hands each version to the engine workers of one host. One thread.

    `devices`: one id for each worker, as the engine knows them ("GPU-<uuid>"). Nothing is sent before the whole version is here and
    verified. `buffer_bytes`: of the buffer that each worker maps, on `device` ("cpu": memory shared by name); its two halves take turns,
    and a half takes the largest tensor. The protocol is pickle over a socket of this host: for trusted processes alone.
    """

    def __init__(self, control: str, devices: Sequence[str], *, buffer_bytes: int = 0, device: str = "cpu", deadline: float = 120.0, **following: Any) -> None:
        self.devices = list(devices)
        self.deadline = deadline
        self._device = device
        self._asked = buffer_bytes
        self._follower = Follower(control, **{"id": f"checkpoint-engine producer {os.getpid()}", **following})
        self._round = 0

    def update(self, trigger: Trigger, *, label: str = "") -> SyncReport:
        """The newest version that the engine does not have (or `label`), given to all workers. Error says which worker refused, and why.

        When this raises before a worker took its first tensors, its old weights serve; after that it holds old and new ones: keep it
        paused, and update again. The version is active here only when all workers have taken the whole of it.
        """
        with failures("checkpoint-engine", name=self._follower.name, peer=self._follower.id), self._follower.stage(label=label, deadline=self.deadline) as staged:
            began = time.monotonic()
            try:
                self._feed(wsync_torch.tensors(staged.tensors()), trigger)
            except BaseException as why:
                traceback.clear_frames(why.__traceback__)  # they have views of the version, which would keep its hold
                raise
            seconds = time.monotonic() - began
            report = self._follower.activate(staged)
        report.add_stage("install", seconds)
        report.engine_stalled_seconds = seconds
        report_event("install", f"handed {report.version} to {len(self.devices)} workers in {seconds * 1e3:.1f} ms", name=report.name, version=report.version,
                     step=report.step, peer=self._follower.id, stage="install", seconds=seconds, metrics=report.metrics())  # fmt: skip
        return report

    def close(self) -> None:
        self._follower.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _feed(self, tensors: Mapping[str, torch.Tensor], trigger: Trigger) -> None:
        import zmq

        self._round += 1
        half = max(self._asked // 2, *(_aligned(one.nbytes) for one in tensors.values()), _ALIGNMENT)
        addresses = {device: f"ipc://@wsync-{device}-{uuid.uuid4().hex[:12]}-{self._round}.sock" for device in self.devices}
        context = zmq.Context()
        with contextlib.ExitStack() as opened:
            opened.callback(context.destroy, 0)
            workers = [_Worker(context, device, address, self.deadline) for device, address in addresses.items()]
            asked = _Asked(trigger, addresses)
            try:
                handle, buffer = opened.enter_context(_buffer(2 * half, self._device))
                _send(workers, tensors, handle, buffer, half, asked)
            except BaseException:
                for worker in workers:
                    worker.abandon()
                asked.join(1.0)
                raise
            asked.join(self.deadline)
            asked.check()


def _send(workers: Sequence[_Worker], tensors: Mapping[str, torch.Tensor], handle: Any, buffer: torch.Tensor, half: int, asked: _Asked) -> None:
    """The protocol: the handle; lists of what lies where; None: let go of the buffer; None: process what was loaded."""
    for worker in workers:
        worker.send(handle, asked)
    waiting = "the buffer"
    for i, batch in enumerate(_batches(tensors, half)):
        placed = _fill(buffer, (i % 2) * half, batch)  # while the workers load from the other half
        for worker in workers:
            worker.acknowledged(waiting, asked)
        for worker in workers:
            worker.send(placed, asked)
        waiting = f"{batch[0][0]} and the {len(batch) - 1} after it"
    for what in ("letting go of the buffer", "processing the weights"):
        for worker in workers:
            worker.acknowledged(waiting, asked)
        for worker in workers:
            worker.send(None, asked)
        waiting = what
    for worker in workers:
        worker.acknowledged(waiting, asked)


class _Worker:
    """One consumer's socket. The protocol is strictly one message, one answer."""

    def __init__(self, context: Any, device: str, address: str, deadline: float) -> None:
        import zmq

        self.device = device
        self._deadline = deadline
        self._socket = context.socket(zmq.REQ)
        self._socket.setsockopt(zmq.LINGER, 1000)
        self._socket.bind(address)
        self._owed = False  # an answer

    def send(self, what: Any, asked: _Asked) -> None:
        """Waits until the worker listens."""
        import zmq

        self._wait(zmq.POLLOUT, "listen", asked)
        self._socket.send_pyobj(what)
        self._owed = True

    def acknowledged(self, what: str, asked: _Asked) -> None:
        """Error("unavailable") with the worker's own words when it could not do it, Error("timed_out") when it says nothing."""
        import zmq

        self._wait(zmq.POLLIN, f"answer about {what}", asked)
        self._owed = False
        answer = self._socket.recv()
        if answer:
            raise Error("unavailable", f"{self.device} failed at {what}: {answer.decode(errors='replace').strip().splitlines()[-1]}")

    def abandon(self) -> None:
        """Tells the consumer to give up, if it can be told now."""
        import zmq

        if self._owed and self._socket.poll(1000):
            self._socket.recv()
            self._owed = False
        if not self._owed and self._socket.poll(0, zmq.POLLOUT):
            self._socket.send_pyobj(RuntimeError("the producer has given up this update"))

    def _wait(self, event: int, what: str, asked: _Asked) -> None:
        until = time.monotonic() + self._deadline
        while not self._socket.poll(50, event):
            asked.check()
            if time.monotonic() > until:
                raise Error("timed_out", f"{self.device} did not {what} in {self._deadline:g} s")


class _Asked:
    """The call that makes the engine listen, in a thread of its own: it returns when the engine is done."""

    def __init__(self, trigger: Trigger, addresses: dict[str, str]) -> None:
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(trigger, addresses), name="wsync trigger", daemon=True)
        self._thread.start()

    def _run(self, trigger: Trigger, addresses: dict[str, str]) -> None:
        try:
            trigger(addresses)
        except BaseException as why:
            self._problem = why

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    def check(self) -> None:
        if self._problem is not None:
            raise Error("unavailable", f"the engine refused the update: {type(self._problem).__name__}: {self._problem}") from self._problem


def _batches(tensors: Mapping[str, torch.Tensor], half: int) -> Iterator[Batch]:
    batch: Batch = []
    used = 0
    for name, tensor in tensors.items():
        if used and used + _aligned(tensor.nbytes) > half:
            yield batch
            batch, used = [], 0
        batch.append((name, tensor))
        used += _aligned(tensor.nbytes)
    if batch:
        yield batch


def _fill(buffer: torch.Tensor, offset: int, batch: Batch) -> list[dict[str, Any]]:
    placed = []
    for name, tensor in batch:
        buffer[offset : offset + tensor.nbytes].copy_(tensor.contiguous().flatten().view(torch.uint8))
        placed.append({"name": name, "shape": tensor.shape, "dtype": tensor.dtype, "offset": offset})
        offset += _aligned(tensor.nbytes)
    return placed


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


@contextlib.contextmanager
def _buffer(size: int, device: str) -> Iterator[tuple[Any, torch.Tensor]]:
    """(what the consumer rebuilds it from, the buffer of bytes)."""
    if device != "cpu":
        from torch.multiprocessing.reductions import reduce_tensor

        buffer = torch.empty(size, dtype=torch.uint8, device=device)
        yield reduce_tensor(buffer), buffer
        return
    file = os.memfd_create("wsync-checkpoint-engine", os.MFD_CLOEXEC)
    try:
        os.ftruncate(file, size)
        buffer = torch.frombuffer(mmap.mmap(file, size), dtype=torch.uint8)
        yield (open_buffer, (os.getpid(), file, size)), buffer
    finally:
        os.close(file)


def open_buffer(process: int, file: int, size: int) -> torch.Tensor:
    """In the consumer: maps the producer's buffer. The same host and user."""
    with open(f"/proc/{process}/fd/{file}", "r+b") as opened:
        return torch.frombuffer(mmap.mmap(opened.fileno(), size), dtype=torch.uint8)
