"""The worker's side: stage and verify a version, see that it fits the model, and only then hand it to the model's loader."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

import torch
from vllm.distributed.weight_transfer import base

from .. import torch as wsync_torch
from .._error import Error
from .._events import report_event
from .._session import Receiver, Session, StagedVersion, Use
from .._tensors import Tensors
from .._wsync import SyncReport, Version
from ._background import Background
from ._client import UNTOUCHED
from ._info import InitInfo, UpdateInfo, check_format
from ._install import abandon, agree, changed_after_loading, install
from ._prepared import Prepared, prepare
from ._rehearsal import Rehearsal, rehearse
from ._sign import Sign


class WorkerEngine(base.WeightTransferEngine):
    """One worker's. A version goes through stage, rehearsal, preparation, agreement of all ranks, and only then into the model.

    What fails before the model's loader starts leaves the weights as they were. What fails after marks the replica: an update can't be
    finished until a version has been installed whole. vLLM calls it from one thread; a version may be staged in another.
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
        self.prepared: Prepared | None = None  # what was staged, made beside the model
        self.background: Background | None = None  # that stages
        self.held = ""  # the label that a copying receiver has whole in its own memory
        self.mixed = ""  # the label that was half installed
        self.installed = ""  # since start_weight_update
        self.unfinished = ""  # the label that was installed, while vLLM's label is still another
        self.report: SyncReport | None = None  # of the last installation
        self._rehearsed: tuple[int, Rehearsal] | None = None
        self._ending = False  # what goes on in the background is to end
        self._interrupted = False  # the receiver, maybe when nobody waited

    # What vLLM calls

    def init_transfer_engine(self, init_info: InitInfo) -> None:
        check_format(init_info.format)
        if init_info.use not in ("auto", "map_then_install", "copy"):
            raise Error("invalid_argument", f'use is "{init_info.use}": give "auto", "map_then_install" or "copy"')
        if init_info.reload not in ("layerwise", "prepared", "direct"):
            raise Error("invalid_argument", f'reload is "{init_info.reload}": give "layerwise", "prepared" or "direct"')
        self.shutdown()
        self.info = init_info
        self._rehearsed = None  # by the options of before
        self.session = Session.open(init_info.control, socket_directory=init_info.socket_directory, tcp_host=init_info.tcp_host)
        self._open("copy" if init_info.use == "copy" else "map_then_install")

    def start_weight_update(self) -> None:
        """Nothing of the engine's is touched before all has arrived."""
        self._opened()
        self.installed = ""

    def receive_weights(self, update_info: UpdateInfo, load_weights: Any = None) -> None:
        """All ranks return, or all raise. `load_weights` is what vLLM before 0.25 gives."""
        del load_weights
        check_format(update_info.format)
        info, _ = self._opened()
        if update_info.abandon:
            self._abandon()
        if update_info.stage_only and update_info.background:
            self._stage_in_background(info, update_info.version)
            return
        began = time.monotonic()
        if update_info.rollback:
            version = self._take_back(info, update_info.version)
        else:
            agree(lambda: self._stage(info, update_info.version), UNTOUCHED)
            if update_info.stage_only:
                return
            assert self.staged is not None
            version = self.staged.version
        stalled = time.monotonic()
        before, self.mixed = self.mixed, version.label
        agree(lambda: self._install(info), f"the replica holds a part of {version.label} now: keep it paused, and send a whole version")
        self.mixed = ""
        now = time.monotonic()
        self._activate(update_info, version, before, now - stalled, now - began)

    def finish_weight_update(self) -> None:
        if self.mixed:
            raise Error("corrupt", f"this replica holds a part of {self.mixed}: send a whole version before the update is finished")
        if not self.installed:
            raise Error("invalid_argument", "no version was installed since start_weight_update: call update_weights")
        self.unfinished = ""

    def shutdown(self) -> None:
        self._end_background()
        self._drop()
        for one in (self.receiver, self.session):
            if one is not None:
                one.close()
        self.receiver = self.session = self.info = None
        self.held = ""

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
        self.held = ""
        rank = getattr(self.parallel_config, "rank", 0)
        self.receiver = self.session.receiver(
            self.info.name, id=f"vllm {socket.gethostname()} rank {rank}", use=use, slabs=self.info.slabs, transports=self.info.transports,
            verification=self.info.verification, threads=self.info.threads,  # type: ignore[arg-type]
            bytes_per_second=self.info.bytes_per_second,
        )  # fmt: skip

    def _drop(self) -> None:
        if self.staged is not None:
            self.staged.drop()
        self.staged = self.prepared = None

    def _stage_in_background(self, info: InitInfo, label: str) -> None:
        self._end_background()
        self.background = Background(lambda: self._take(info, label), label, Sign(info.control, label))

    def _end_background(self) -> None:
        if self.background is None:
            return
        self._ending = True
        while not self.background.ended(within=0.02):
            if self.receiver is not None:
                with contextlib.suppress(Error):
                    self.receiver.interrupt()
                    self._interrupted = True
        self.background = None
        self._ending = False

    def _stage(self, info: InitInfo, label: str) -> None:
        """Leaves self.staged: the version, here and verified, known to fit, and prepared. Or raises, with nothing staged."""
        if self.background is not None and self.background.label == label:
            background, self.background = self.background, None
            background.join()
            return
        self._end_background()
        if self.staged is None or self.staged.version.label != label:
            self._take(info, label)

    def _take(self, info: InitInfo, label: str) -> None:
        self._drop()
        try:
            self.staged = self._stage_newest(info)
            have = self.staged.version.label
            if label and have != label:
                raise Error("unavailable", f"{label} is asked for, but the newest version is {have}: send that one")
            self._rehearse(info, self.staged.tensors())
        except BaseException:
            self._drop()
            raise

    def _stage_newest(self, info: InitInfo) -> StagedVersion:
        _, receiver = self._opened()
        try:
            return self._stage_by(receiver, info)
        except Error as why:
            if why.code != "unsupported" or info.use != "auto":
                raise
            report_event("fallback", f"{receiver.id} copies: {why.message}", name=info.name, peer=receiver.id, stage="stage", code=why.code)
        self._open("copy")
        _, receiver = self._opened()
        return self._stage_by(receiver, info)

    def _stage_by(self, receiver: Receiver, info: InitInfo) -> StagedVersion:
        self._go_on()
        try:
            return receiver.stage(deadline=info.deadline)
        except Error as why:
            if why.code != "cancelled" or self._ending or not self._interrupted:
                raise
        finally:
            self._interrupted = False
        return receiver.stage(deadline=info.deadline)  # the interrupt was meant for an earlier call, and came too late for it

    def _go_on(self) -> None:
        if self._ending:
            raise Error("cancelled", f"staging was ended; {UNTOUCHED}")

    def _abandon(self) -> None:
        self._end_background()
        self._drop()
        if self.mixed:
            raise Error("corrupt", f"this replica holds a part of {self.mixed}: keep it paused, and send a whole version")
        raise Error("cancelled", f"the update was ended: {f'{self.unfinished} was installed, but not finished' if self.unfinished else UNTOUCHED}")

    def _take_back(self, info: InitInfo, label: str) -> Version:
        """The version before, which this worker's receiver still has; it is the receiver's active one now. All ranks'."""
        _, receiver = self._opened()
        went_back = False

        def go_back() -> Version:
            nonlocal went_back
            self._end_background()
            self._drop()
            if not self.held:
                raise Error("unsupported", 'nothing to go back to is held here: workers with use="copy" and two slabs keep the version before')
            if not self.mixed:  # else the version before is the one that the receiver has
                receiver.rollback()
                went_back = True
            tensors = self._to_install()
            have = tensors.version
            if label and have.label != label:
                raise Error("not_found", f"{label} is asked for, but the version before is {have}")
            self._rehearse(info, tensors)
            return have

        try:
            return agree(go_back, UNTOUCHED)
        except BaseException:
            if went_back:
                receiver.rollback()  # and forward again
            raise

    def _to_install(self) -> Tensors:
        """What was staged; or, after going back, what the receiver has."""
        _, receiver = self._opened()
        tensors = self.staged.tensors() if self.staged is not None else receiver.pin()
        if tensors is None:
            raise Error("not_found", "this worker holds no version")
        return tensors

    def _rehearse(self, info: InitInfo, tensors: Tensors) -> None:
        """Once for each set of names, types and shapes; what is to be prepared is prepared each time."""
        given = wsync_torch.tensors(tensors)
        key = hash((id(self.model), tuple((name, one.dtype, one.shape) for name, one in given.items())))
        if self._rehearsed is None or self._rehearsed[0] != key:
            changed = changed_after_loading(self.model) if info.reload == "direct" else ""
            if changed:
                raise Error("unsupported", f'vLLM keeps {changed} in another form than it was loaded in: use reload="layerwise"; {UNTOUCHED}')
            ignore = list(info.ignore)
            if getattr(getattr(self.model_config, "hf_text_config", None), "tie_word_embeddings", False):
                ignore.append("*lm_head.weight")
            self._rehearsed = (key, rehearse(self.model, given, ignore=ignore, optional=info.optional))
        self._rehearsed[1].check(tensors.version.label)
        if info.reload == "prepared":
            copying = self.device.type != "cpu"
            self.prepared = prepare(self.model, self.model_config, self._rehearsed[1], given, copying=copying, go_on=self._go_on)

    def _install(self, info: InitInfo) -> None:
        assert self._rehearsed is not None
        if self.prepared is not None:
            self.prepared.put_in()
            self._synchronize()
            return
        given = wsync_torch.tensors(self._to_install())
        try:
            install(self.model, self.model_config, ((name, given[name]) for name in self._rehearsed[1].order), layerwise=info.reload == "layerwise")
            self._synchronize()
        except BaseException:
            abandon(self.model, self.model_config)
            raise

    def _synchronize(self) -> None:
        """Before the hold ends."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize()

    def _activate(self, asked: UpdateInfo, version: Version, healed: str, stalled: float, seconds: float) -> None:
        _, receiver = self._opened()
        self.prepared = None
        metrics: dict[str, float] = {"wsync/engine_stalled_seconds": stalled}
        if self.staged is not None:
            report = receiver.activate(self.staged)
            self.staged = None
            report.add_stage("install", stalled)
            report.engine_stalled_seconds = stalled
            if healed:
                report.add_note(f"{healed} had been installed in part")
            if asked.on_update or asked.kv:
                report.add_note(f"requests in flight: {asked.on_update or 'none'}; prefix cache: {asked.kv or 'as it was'}")
            self.report = report
            self.held = "" if report.use == "map_then_install" else version.label
            metrics = report.metrics()
        else:  # went back
            self.held = version.label
        self.installed = self.unfinished = version.label
        report_event(
            "install", f"installed {version.label} in {stalled * 1e3:.1f} ms", name=version.name, version=version.label, step=version.step,
            peer=receiver.id, stage="install", seconds=seconds, on_update=asked.on_update, kv=asked.kv, metrics=metrics,
        )  # fmt: skip
