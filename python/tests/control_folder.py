"""What all tests of the package share, those with engines too: a folder for control and sockets, removed after, and a session in it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import wsync


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, for Unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="wsync-test-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def session(folder: Path) -> Iterator[wsync.Session]:
    with wsync.Session.open(control=f"dir:{folder}", socket_directory=str(folder / "sockets")) as opened:
        yield opened
