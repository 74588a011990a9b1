"""What a wheel must do where nothing but Python is: `python bare.py` in the environment that has it. No test of pytest's.

A trainer process publishes three versions, this one receives and reads them, mapped and over TCP; the command and the notices are there.
"""

from __future__ import annotations

import array
import importlib.metadata
import multiprocessing
import subprocess
import sys
import tempfile
from typing import Any

import wsync

ELEMENTS = 1 << 20


def weights(step: int) -> dict[str, Any]:
    return {"embed.weight": array.array("f", [float(step)]) * ELEMENTS, "norm.weight": array.array("h", range(step, step + 64))}


def train(folder: str, go: Any) -> None:
    with (
        wsync.Session.open(control=f"dir:{folder}", socket_directory=folder + "/sockets") as session,
        session.publisher("policy", source=weights(0)) as publisher,
    ):
        while (step := go.recv()) is not None:
            publisher.publish_from(weights(step), step=step)


def receive(folder: str, go: Any) -> None:
    with (
        wsync.Session.open(control=f"dir:{folder}", socket_directory=folder + "/sockets") as session,
        session.receiver("policy", id="copy") as copies,
        session.receiver("policy", id="map", use="serve_in_place") as maps,
        session.receiver("policy", id="far", transports=["tcp"]) as far,
    ):
        for step in (1, 2, 3):
            go.send(step)
            for receiver in (copies, maps, far):
                report = receiver.sync(deadline=60)
                views = receiver.pin()
                assert views is not None
                assert {name: bytes(view) for name, view in views.items()} == {name: one.tobytes() for name, one in weights(step).items()}
                print(f"step {report.step}: {report.method}, {report.bytes_moved} bytes moved, {report.verification}, {report.seconds * 1e3:.2f} ms")
                del views
        go.send(None)


def main() -> None:
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    with tempfile.TemporaryDirectory(prefix="wsync-test-") as folder:
        trainer = context.Process(target=train, args=(folder, theirs))
        trainer.start()
        receive(folder, mine)
        trainer.join(60)
        assert trainer.exitcode == 0
    version = subprocess.run(["wsync", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    assert importlib.metadata.version("wsync") in version, version
    files = [str(path) for path in importlib.metadata.files("wsync") or []]
    for wanted in ("py.typed", "_wsync.pyi", "THIRD-PARTY-NOTICES.txt", "LICENSE"):
        assert any(path.endswith(wanted) for path in files), (wanted, files)
    print(f"{version}; Python {sys.version.split()[0]}; the wheel is whole")


if __name__ == "__main__":
    main()
