"""A receiver for an engine's side: it maps the trainer's pages where it can, copies where it can't, and waits for what comes after a mark."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Literal, Self

from ._error import Error
from ._events import report_event
from ._session import Receiver, Session, StagedVersion, Use
from ._wsync import SyncReport, Version

How = Literal["auto", "map_then_install", "copy"]


class Follower:
    """Owns a session and a receiver, which is opened again as a copying one when pages can't be mapped (use="auto"). One thread at a time.

    `control`: "dir:FOLDER", as this host sees it. Errors are wsync.Error; after one the version before is the active one.
    """

    def __init__(
        self, control: str, name: str = "policy", *, id: str = "follower", use: How = "auto", transports: Sequence[str] = (),
        verification: Literal["content", "content_at_rest", "none"] = "content", threads: int = 1, slabs: int = 1, socket_directory: str = "",
        tcp_host: str = "127.0.0.1",
    ) -> None:  # fmt: skip
        if use not in ("auto", "map_then_install", "copy"):
            raise Error("invalid_argument", f'use is "{use}": give "auto", "map_then_install" or "copy"')
        self.name = name
        self.id = id
        self._use = use
        self._transports = list(transports)
        self._verification = verification
        self._threads = threads
        self._slabs = slabs
        self._session = Session.open(control, socket_directory=socket_directory, tcp_host=tcp_host)
        self._receiver = self._open("copy" if use == "copy" else "map_then_install")

    def newest(self) -> Version | None:
        """What can be seen now: a mark for stage()."""
        return self._receiver.newest()

    def stage(self, *, after: Version | None = None, label: str = "", deadline: float = 120.0) -> StagedVersion:
        """Waits for a version that is not `after`, and moves and verifies it. `label`: it must be this one, else Error("unavailable")."""
        staged = self._stage(time.monotonic() + deadline, after)
        if label and staged.version.label != label:
            have = staged.version.label
            staged.drop()
            raise Error("unavailable", f"{label} is asked for, but the newest version is {have}: send that one")
        return staged

    def activate(self, staged: StagedVersion) -> SyncReport:
        """When the engine has what was staged."""
        return self._receiver.activate(staged)

    def close(self) -> None:
        self._receiver.close()
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _stage(self, until: float, after: Version | None) -> StagedVersion:
        try:
            return self._receiver.stage(deadline=max(0.0, until - time.monotonic()), after=after)
        except Error as why:
            if why.code != "unsupported" or self._use != "auto":
                raise
            report_event("fallback", f"{self.id} copies: {why.message}", name=self.name, peer=self.id, stage="stage", code=why.code)
        self._receiver.close()
        self._receiver = self._open("copy")
        return self._receiver.stage(deadline=max(0.0, until - time.monotonic()), after=after)

    def _open(self, use: Use) -> Receiver:
        return self._session.receiver(
            self.name, id=self.id, use=use, slabs=self._slabs if use == "copy" else 2, transports=self._transports, verification=self._verification,
            threads=self._threads,
        )  # fmt: skip

