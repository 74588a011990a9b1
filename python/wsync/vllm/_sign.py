"""How a worker that stages in the background lets a trainer know when it is done: vLLM's calls answer nothing."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path


class Sign:
    """An empty file in the control folder that is there while this worker stages a version. Where it can't be made, nobody sees it."""

    def __init__(self, control: str, label: str) -> None:
        folder = _folder_in(control)
        self.file = None if folder is None else folder / f"{label}.{socket.gethostname()}.{os.getpid()}.staging"

    def show(self) -> None:
        if self.file is not None:
            with contextlib.suppress(OSError):
                self.file.parent.mkdir(mode=0o700, exist_ok=True)
                self.file.touch(mode=0o600)

    def hide(self) -> None:
        if self.file is not None:
            with contextlib.suppress(OSError):
                self.file.unlink(missing_ok=True)


def signs_of(control: str, label: str) -> list[Path]:
    """Those that are there now. None: all are done, or they can't be seen from here."""
    folder = _folder_in(control)
    return [] if folder is None else list(folder.glob(f"{label}.*.staging"))


def _folder_in(control: str) -> Path | None:
    kind, _, path = control.partition(":")
    return Path(path) / "staging" if kind == "dir" else None
