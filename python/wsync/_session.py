"""Session, Publisher, Receiver: the same nouns as in C++, with context managers and log records."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

from . import _wsync
from ._buffers import bytes_of, bytes_of_all
from ._error import Error
from ._events import failures, report_event, report_sync
from ._tensors import Tensors
from ._wsync import Layout, Manifest, SyncReport, Version

Use = Literal["copy", "map_then_install", "serve_in_place"]
Source = Layout | Manifest | Mapping[str, Any]


def manifest_of(tensors: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> Manifest:
    """The manifest of named tensors: arrays, torch tensors, anything with the buffer protocol or DLPack."""
    specs = []
    for name, held in bytes_of_all(tensors):
        if not held.dtype:
            raise Error("unsupported", f"{name} has a type that is none of safetensors': give a Manifest")
        specs.append((name, held.dtype, held.shape))
    return Manifest(specs)


def _layout_of(source: Source, world: int) -> Layout:
    if isinstance(source, Layout):
        return source
    if isinstance(source, Manifest):
        return Layout.replicated(source, world)
    return Layout.replicated(manifest_of(source), world)


class Write:
    """The right to write one slab. Leaving the `with` block without publishing drops it: nothing becomes visible."""

    def __init__(self, handle: _wsync.WriteHandle) -> None:
        self.handle = handle

    def shards(self) -> list[tuple[str, str, tuple[int, ...], tuple[int, ...]]]:
        """(name, dtype, offset, size) of what this rank holds, in the layout's order."""
        return self.handle.shards()

    def copy_from(self, tensors: Mapping[str, Any] | Iterable[tuple[str, Any]], *, cast: bool = False) -> None:
        """Copies every shard, digesting it on the way. Tensors are found by name (several boxes of one: in order).

        `cast`: F32 tensors are rounded to BF16 in the same pass where the layout has BF16. Else only bytes count."""
        with failures("copy_from"):
            held = bytes_of_all(tensors)
            self.handle.copy_from([(name, one.address, one.nbytes, one.dtype if cast else "") for name, one in held])

    def copy(self, index: int, tensor: Any, *, cast: bool = False) -> None:
        """Copies one shard, by its number in shards()."""
        with failures("copy"):
            held = bytes_of(f"shard {index}", tensor)
            self.handle.copy(index, held.address, held.nbytes, held.dtype if cast else "")

    def region(self, index: int) -> _wsync.Memory:
        """Where a shard lies in the slab, writable, by the buffer protocol: write it there, instead of copy. Only until publish()."""
        return self.handle.region(index)

    def drop(self) -> None:
        self.handle.drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.handle.drop()


class Publisher:
    """One rank's publisher. One thread at a time."""

    def __init__(self, handle: _wsync.PublisherHandle, name: str, rank: int) -> None:
        self.handle = handle
        self.name = name
        self.rank = rank

    def begin_write(self, *, deadline: float | None = 30.0, revoke: bool = False) -> Write:
        """Waits until a slab is free. Error("timed_out") names the holders; `revoke` takes their holds away at the deadline."""
        with failures("begin_write", name=self.name, peer=f"rank {self.rank}"):
            return Write(self.handle.begin_write(deadline, revoke))

    def publish(self, write: Write, *, step: int, save: bool = True) -> Version:
        """The version is visible when all ranks have published it."""
        with failures("publish", name=self.name, step=step, peer=f"rank {self.rank}"):
            version = self.handle.publish(write.handle, step, save)
        report_event("publish", f"published {version.label}", name=self.name, version=version.label, step=step, peer=f"rank {self.rank}", stage="publish")
        return version

    def publish_from(self, tensors: Mapping[str, Any] | Iterable[tuple[str, Any]], *, step: int, deadline: float | None = 30.0) -> Version:
        """begin_write, copy_from and publish."""
        with self.begin_write(deadline=deadline) as write:
            write.copy_from(tensors)
            return self.publish(write, step=step)

    @property
    def epoch(self) -> int:
        return self.handle.epoch

    @property
    def holds(self) -> int:
        """Holds that receivers have now."""
        return self.handle.holds

    def close(self) -> None:
        self.handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class StagedVersion:
    """Moved and verified, not active. Leaving the `with` block without activating it changes nothing."""

    def __init__(self, handle: _wsync.StagedHandle) -> None:
        self.handle = handle
        self.version = handle.version
        self.report = handle.report  # up to verify

    def tensors(self) -> Tensors:
        """Views of the staged bytes. They stay as they are while a view lives, whatever becomes of this version."""
        return Tensors(self.handle.tensors())

    def drop(self) -> None:
        self.handle.drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.handle.drop()


class Receiver:
    """Stages versions beside the one that serves, and activates them. One thread at a time; pin, active_number and interrupt from any."""

    def __init__(self, handle: _wsync.ReceiverHandle, name: str, id: str, slots: object) -> None:
        self.handle = handle
        self.name = name
        self.id = id
        self._slots = slots  # the memory that is received into

    def stage(self, *, deadline: float | None = 30.0, after: Version | None = None) -> StagedVersion:
        """Waits for a version newer than the active one, moves and verifies it. In every case the active version is as it was.

        `after`: a version that is not to be staged, as newest() told it: the next one is waited for."""
        with failures("stage", name=self.name, peer=self.id):
            watch = threading.current_thread() is threading.main_thread()
            return StagedVersion(self.handle.stage(deadline, after, watch))

    def activate(self, staged: StagedVersion) -> SyncReport:
        """The staged version serves from now on."""
        with failures("activate", name=self.name, peer=self.id, version=staged.version.label):
            report = self.handle.activate(staged.handle)
        report_sync(report, self.id)
        return report

    def sync(self, *, deadline: float | None = 30.0) -> SyncReport:
        """stage and activate."""
        with self.stage(deadline=deadline) as staged:
            return self.activate(staged)

    def rollback(self) -> Version:
        """Back to the version before the active one, while it is held."""
        with failures("rollback", name=self.name, peer=self.id):
            version = self.handle.rollback()
        report_event("rollback", f"rolled back to {version.label}", name=self.name, version=version.label, step=version.step, peer=self.id, stage="rollback")
        return version

    def newest(self) -> Version | None:
        """The newest version that can be seen now; nothing is moved."""
        return self.handle.newest()

    def check_health(self) -> None:
        """Error("corrupt") when what is served may be mixed bytes ("poisoned")."""
        with failures("health", name=self.name, peer=self.id):
            self.handle.health()

    def pin(self) -> Tensors | None:
        """The active version's tensors; it is not recycled while they, or a view of them, live. None: nothing is active."""
        table = self.handle.pin()
        return None if table is None else Tensors(table)

    @property
    def active_number(self) -> tuple[int, int]:
        """(epoch, number) of the active version; (0, 0) for none."""
        return self.handle.active_number()

    def interrupt(self) -> None:
        """A stage under way in another thread answers Error("cancelled")."""
        self.handle.interrupt()

    def close(self) -> None:
        self.handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Session:
    """One process's place in the fleet. Publishers and receivers may outlive it."""

    def __init__(self, handle: _wsync.SessionHandle, control: str) -> None:
        self.handle = handle
        self.control = control

    @staticmethod
    def open(control: str, *, socket_directory: str = "", tcp_host: str = "127.0.0.1", shm: bool = True, kernels: str = "") -> Session:
        """`control`: "dir:/run/policy", a folder that all see, or "local:NAME", this process. `tcp_host`: what other hosts reach; "": no tcp."""
        with failures("open", peer=control):
            return Session(_wsync.SessionHandle.open(control, socket_directory, tcp_host, shm, kernels), control)

    def publisher(
        self,
        name: str,
        rank: int = 0,
        world: int = 1,
        *,
        source: Source,
        run: str = "",
        slabs: int = 2,
        threads: int = 1,
        huge_pages: bool = True,
        version_directory: str = "",
        keep_versions: int = 2,
        recycle_versions: bool = True,
        lease_seconds: float = 5.0,
        open_deadline: float | None = 15.0,
    ) -> Publisher:
        """`source`: the Layout of all ranks; or a Manifest, or named tensors, that every rank holds whole. With several ranks `run` is the
        job's id, the same on all. `slabs`: 1 live (train in the slab), 2 snapshot, 3 serve in place with rollback."""
        with failures("publisher", name=name, peer=f"rank {rank}"):
            handle = self.handle.publisher(
                name=name, rank=rank, world=world, run=run, source=_layout_of(source, world), slabs=slabs, huge_pages=huge_pages, threads=threads,
                version_directory=version_directory, keep_versions=keep_versions, recycle_versions=recycle_versions, lease_seconds=lease_seconds,
                open_deadline=open_deadline,
            )  # fmt: skip
        return Publisher(handle, name, rank)

    def receiver(
        self,
        name: str,
        *,
        id: str = "receiver",
        group: tuple[str, int, int] | None = None,
        group_lease: float = 5.0,
        wanted: Layout | Manifest | None = None,
        rank: int = 0,
        slots: Sequence[Any] = (),
        use: Use = "copy",
        slabs: int = 2,
        rollback: bool = False,
        transports: Sequence[str] = (),
        verification: Literal["content", "content_at_rest", "none"] = "content",
        reuse_blocks: bool = True,
        huge_pages: bool = True,
        threads: int = 1,
        bucket_bytes: int = 0,
        in_flight_bytes: int = 0,
        bytes_per_second: float = 0.0,
    ) -> Receiver:
        """`wanted`: what this receiver keeps, and `rank` whose shards of it; None: every tensor whole. `slots`: writable memory to receive into.

        `group`: (name, rank, size) of receivers in processes of their own that activate a version together or not at all: stage() answers
        when all members have staged the same one. A member that is stopped or gone for `group_lease` seconds is given up (docs/groups.md).
        """
        with failures("receiver", name=name, peer=id):
            held = [bytes_of(f"slot {i}", slot) for i, slot in enumerate(slots)]
            layout = Layout.replicated(wanted) if isinstance(wanted, Manifest) else wanted
            handle = self.handle.receiver(
                name=name, id=id, group=None if group is None else (*group, group_lease), wanted=layout, rank=rank,
                slots=[(one.address, one.nbytes) for one in held], use=use, slabs=slabs, rollback=rollback,
                transports=list(transports), verification=verification, reuse_blocks=reuse_blocks, huge_pages=huge_pages, threads=threads,
                bucket_bytes=bucket_bytes, in_flight_bytes=in_flight_bytes, bytes_per_second=bytes_per_second,
            )  # fmt: skip
        return Receiver(handle, name, id, held)

    def peak_extra_bytes(self) -> dict[str, int]:
        """Peak bytes of extra memory by role, since the session was opened or the peak was reset."""
        return self.handle.peak_extra_bytes()

    def reset_peak(self) -> None:
        self.handle.reset_peak()

    def close(self) -> None:
        self.handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def activate_all(receivers: Sequence[Receiver], staged: Sequence[StagedVersion]) -> None:
    """Activates all or none: call it when each has been staged."""
    with failures("activate_all"):
        _wsync.activate_all([one.handle for one in receivers], [one.handle for one in staged])
