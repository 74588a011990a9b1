"""The worker's side: stage and verify a version, see that it fits the model, and only then hand it to the model's loader."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from vllm.distributed.weight_transfer import base

from .. import torch as wsync_torch
from .._error import Error
from .._events import report_event
from .._session import Receiver, Session, StagedVersion, Use
from .._wsync import SyncReport
from ._install import abandon, agree, install
from ._rehearsal import Rehearsal, rehearse

FORMAT = 1  # of InitInfo and UpdateInfo; grows when an older worker would misread them


@dataclass
class InitInfo(base.WeightTransferInitInfo):
    """What the worker needs to find the publisher. JSON alone: no flag for insecure serialisation is needed."""

    control: str  # "dir:/run/policy": the trainer's control folder, as this host sees it
    name: str = "policy"
    socket_directory: str = ""
    tcp_host: str = "127.0.0.1"
    transports: list[str] = field(default_factory=list)  # by preference, only these: "shm", "tcp"; or ["disk"]
    use: str = "auto"  # "map_then_install", "copy"; auto: map the trainer's pages where they can be mapped, else copy
    slabs: int = 1  # of a copying worker: 2 keep the version before, for a rollback
    verification: str = "content"
    threads: int = 1
    deadline: float = 120.0  # seconds, for one version to be staged
    reload: str = "layerwise"  # "direct": into the live parameters; right only where vLLM changes no weight after loading
    ignore: list[str] = field(default_factory=list)  # patterns of tensors that the model may do nothing with
    optional: list[str] = field(default_factory=list)  # patterns of the model's parameters that may be left out
    format: int = FORMAT


@dataclass
class UpdateInfo(base.WeightTransferUpdateInfo):
    version: str = ""  # the label that must arrive; "": the newest
    stage_only: bool = False  # true: move, verify and check it now, install it with the next update
    format: int = FORMAT


class WorkerEngine(base.WeightTransferEngine):
    """One worker's. A version goes through stage, rehearsal, agreement of all ranks, and only then into the model.

    What fails before the model's loader starts leaves the weights as they were. What fails after marks the replica: an update can't be
    finished until a version has been installed whole.
    """

    init_info_cls = InitInfo
    update_info_cls = UpdateInfo
    supports_draft_weight_update = False
    defers_processing = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.info: InitInfo | None = None
        self.session: Session | None = None
        self.receiver: Receiver | None = None
        self.staged: StagedVersion | None = None
        self.mixed = ""  # the label that was half installed
        self.installed = ""  # since start_weight_update
        self.report: SyncReport | None = None  # of the last installation
        self._rehearsed: tuple[int, Rehearsal] | None = None

    # What vLLM calls

    def init_transfer_engine(self, init_info: InitInfo) -> None:
        _check_format(init_info.format)
        if init_info.use not in ("auto", "map_then_install", "copy"):
            raise Error("invalid_argument", f'use is "{init_info.use}": give "auto", "map_then_install" or "copy"')
        if init_info.reload not in ("layerwise", "direct"):
            raise Error("invalid_argument", f'reload is "{init_info.reload}": give "layerwise" or "direct"')
        self.shutdown()
        self.info = init_info
        self.session = Session.open(init_info.control, socket_directory=init_info.socket_directory, tcp_host=init_info.tcp_host)
        self._open("copy" if init_info.use == "copy" else "map_then_install")

    def start_weight_update(self) -> None:
        """Nothing of the engine's is touched before all has arrived."""
        self._opened()
        self.installed = ""

    def receive_weights(self, update_info: UpdateInfo, load_weights: Any = None) -> None:
        """All ranks return, or all raise. `load_weights` is what vLLM before 0.25 gives."""
        del load_weights
        _check_format(update_info.format)
        info, _ = self._opened()
        began = time.monotonic()
        agree(lambda: self._stage(info, update_info.version), "no weight was touched")
        if update_info.stage_only:
            return
        assert self.staged is not None
        label = self.staged.version.label
        stalled = time.monotonic()
        before, self.mixed = self.mixed, label
        agree(lambda: self._install(info), f"the replica holds a part of {label} now: keep it paused, and send a whole version")
        self.mixed = ""
        self._activate(label, before, time.monotonic() - stalled, time.monotonic() - began)

    def finish_weight_update(self) -> None:
        if self.mixed:
            raise Error("corrupt", f"this replica holds a part of {self.mixed}: send a whole version before the update is finished")
        if not self.installed:
            raise Error("invalid_argument", "no version was installed since start_weight_update: call update_weights")

    def shutdown(self) -> None:
        self._drop()
        for one in (self.receiver, self.session):
            if one is not None:
                one.close()
        self.receiver = self.session = self.info = None

    # vLLM 0.25 to 0.27 have it abstract
    @staticmethod
    def trainer_send_weights(*_: Any, **__: Any) -> None:
        raise Error("unsupported", "wsync's trainer publishes by itself, and then calls wsync.vllm.push")

    # What it takes

    def _opened(self) -> tuple[InitInfo, Receiver]:
        if self.info is None or self.receiver is None:
            raise Error("invalid_argument", "call init_weight_transfer_engine first")
        return self.info, self.receiver

    def _open(self, use: Use) -> None:
        assert self.info is not None and self.session is not None
        if self.receiver is not None:
            self.receiver.close()
        rank = getattr(self.parallel_config, "rank", 0)
        self.receiver = self.session.receiver(
            self.info.name, id=f"vllm {socket.gethostname()} rank {rank}", use=use, slabs=self.info.slabs, transports=self.info.transports,
            verification=self.info.verification, threads=self.info.threads,  # type: ignore[arg-type]
        )  # fmt: skip

    def _drop(self) -> None:
        if self.staged is not None:
            self.staged.drop()
        self.staged = None

    def _stage(self, info: InitInfo, label: str) -> None:
        """Leaves self.staged: the version, here and verified, and known to fit. Or raises, with nothing staged."""
        if self.staged is not None and self.staged.version.label == label:
            return
        self._drop()
        try:
            self.staged = self._stage_newest(info)
            have = self.staged.version.label
            if label and have != label:
                raise Error("unavailable", f"{label} is asked for, but the newest version is {have}: send that one")
            self._rehearse(info, self.staged)
        except BaseException:
            self._drop()
            raise

    def _stage_newest(self, info: InitInfo) -> StagedVersion:
        _, receiver = self._opened()
        try:
            return receiver.stage(deadline=info.deadline)
        except Error as why:
            if why.code != "unsupported" or info.use != "auto":
                raise
            report_event("fallback", f"{receiver.id} copies: {why.message}", name=info.name, peer=receiver.id, stage="stage", code=why.code)
        self._open("copy")
        _, receiver = self._opened()
        return receiver.stage(deadline=info.deadline)

    def _rehearse(self, info: InitInfo, staged: StagedVersion) -> None:
        """Once for each set of names, types and shapes."""
        given = wsync_torch.tensors(staged.tensors())
        key = hash((id(self.model), tuple((name, one.dtype, one.shape) for name, one in given.items())))
        if self._rehearsed is None or self._rehearsed[0] != key:
            ignore = list(info.ignore)
            if getattr(getattr(self.model_config, "hf_text_config", None), "tie_word_embeddings", False):
                ignore.append("*lm_head.weight")
            self._rehearsed = (key, rehearse(self.model, given, ignore=ignore, optional=info.optional))
        self._rehearsed[1].check(staged.version.label)

    def _install(self, info: InitInfo) -> None:
        assert self.staged is not None and self._rehearsed is not None
        given = wsync_torch.tensors(self.staged.tensors())
        try:
            install(self.model, self.model_config, ((name, given[name]) for name in self._rehearsed[1].order), layerwise=info.reload == "layerwise")
            if self.device.type != "cpu":
                torch.accelerator.synchronize()  # before the hold ends
        except BaseException:
            abandon(self.model, self.model_config)
            raise

    def _activate(self, label: str, healed: str, stalled: float, seconds: float) -> None:
        _, receiver = self._opened()
        assert self.staged is not None
        report = receiver.activate(self.staged)
        self.staged = None
        report.add_stage("install", stalled)
        report.engine_stalled_seconds = stalled
        if healed:
            report.add_note(f"{healed} had been installed in part")
        self.report = report
        self.installed = label
        report_event(
            "install", f"installed {label} in {stalled * 1e3:.1f} ms", name=report.name, version=label, step=report.step, peer=receiver.id, stage="install",
            seconds=seconds, metrics=report.metrics(),
        )  # fmt: skip


def _check_format(given: int) -> None:
    if given > FORMAT:
        raise Error("unsupported", f"the trainer's wsync speaks format {given} of this backend, this worker {FORMAT}: install the same release on both")


