"""Making engines take a version: which calls, in which order, and what is done when one fails."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .._events import report_event
from ._client import Client


@dataclass
class PushReport:
    """What a push, or a rollback, did and cost, as the caller saw it: of a fleet, the slowest replica's."""

    label: str
    rollback: bool = False
    on_update: str = ""  # what became of the requests in flight: "keep", "wait", "abort"; "": the client doesn't pause
    kv: str = ""  # what became of the prefix cache: "clear", "keep", "salt"; "": the client doesn't say
    seconds: dict[str, float] = field(default_factory=dict)  # by phase: start, stage (old weights serve), pause, install, finish, resume

    @property
    def engine_stalled_seconds(self) -> float:
        """From the call to pause until requests run again; of a client that doesn't pause: to install and to finish."""
        return sum(self.seconds.get(phase, 0.0) for phase in ("pause", "install", "finish", "resume"))

    def metrics(self) -> dict[str, float]:
        """A flat dict for dashboards: "wsync/push/stage", "wsync/push/engine_stalled_seconds", ..."""
        named = {f"wsync/push/{phase}": spent for phase, spent in self.seconds.items()}
        return {**named, "wsync/push/engine_stalled_seconds": self.engine_stalled_seconds}


def push(client: Client, label: str) -> PushReport:
    """Makes every replica behind `client` stage, verify and install the version `label`, which has been published.

    First all stage it, while they serve; then a client that can is asked to pause, the weights are installed, and it resumes. When this
    raises, a replica whose weights were not touched serves the old version; any other was left paused: one that was marked refuses to
    finish an update until a push succeeds, and must not generate before (the error says which).
    """
    return _update(client, label, back=False)


def rollback(client: Client, label: str) -> PushReport:
    """Makes every replica install `label` again, the version before, or, after a failed installation, the last whole one.

    Workers have it still if they copy and have two slabs: {"use": "copy", "slabs": 2} in init_weight_transfer_engine. Nothing is moved,
    and no trainer is needed. Raises as push does; Error("not_found") or ("unsupported") where there is no such version.
    """
    return _update(client, label, back=True)


def _update(client: Client, label: str, *, back: bool) -> PushReport:
    report = PushReport(label, back, kv=getattr(client, "kv", ""))
    pause, resume, stage = (getattr(client, name, None) for name in ("pause", "resume", "stage"))
    if pause is not None:
        report.on_update = getattr(client, "on_update", "")
    asked: dict[str, Any] = {"version": label}
    if back:
        asked["rollback"] = True
    named = {key: value for key, value in (("on_update", report.on_update), ("kv", report.kv)) if value}
    try:
        with _timed(report, "start"):
            _start(client)
        if pause is not None:
            if not back:
                with _timed(report, "stage"):
                    if stage is not None:
                        stage(asked)
                    else:
                        client.update_weights({**asked, "stage_only": True})
            with _timed(report, "pause"):
                pause()
        with _timed(report, "install"):
            client.update_weights({**asked, **named})
        with _timed(report, "finish"):
            client.finish_weight_update(label)
    except BaseException:
        _abandon(client, paused="pause" in report.seconds)
        raise
    if resume is not None:
        with _timed(report, "resume"):
            resume()
    what = "rolled back to" if back else "pushed"
    report_event(
        "push", f"{what} {label}, {report.engine_stalled_seconds * 1e3:.1f} ms stalled", version=label, stage="push",
        seconds=sum(report.seconds.values()), on_update=report.on_update, kv=report.kv, metrics=report.metrics(),
    )  # fmt: skip
    return report


def _start(client: Client) -> None:
    """A trainer that died in the middle of an update left it open in vLLM, which has no call to end it."""
    try:
        client.start_weight_update()
    except Exception:
        _abandon(client, paused=False)
        client.start_weight_update()


def _abandon(client: Client, *, paused: bool) -> None:
    """What goes wrong here is not what went wrong."""
    own = getattr(client, "abandon", None)
    with contextlib.suppress(Exception):
        if own is not None:
            own(paused=paused)
            return
        with contextlib.suppress(Exception):
            client.start_weight_update()
        client.update_weights({"abandon": True})


@contextlib.contextmanager
def _timed(report: PushReport, phase: str) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        report.seconds[phase] = time.monotonic() - began
