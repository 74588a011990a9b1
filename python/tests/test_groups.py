"""Receivers of one group, each in a process of its own: all activate a version, or none does."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint import same

import wsync

PATIENCE = 60
SLOW = 10_000.0  # bytes per second: minutes between the two tensors


def weights(step: int) -> dict[str, Any]:
    """Two tensors that are moved one after the other where the rate is limited."""
    return {name: np.random.default_rng(step).integers(0, 255, 2 << 20, dtype=np.uint8) for name in ("first", "second")}


def member_process(folder: str, rank: int, orders: Any) -> None:
    """Does what it is told until it is told nothing: `orders` gets (options, deadline), and is sent what came of one sync."""
    with wsync.Session.open(control=f"dir:{folder}", socket_directory=folder + "/sockets") as session:
        options: dict[str, Any] = {}
        receiver = session.receiver("policy", id=f"engine {rank}", group=("engines", rank, 2))
        while order := orders.recv():
            if order["options"] != options:
                receiver.close()
                options = order["options"]
                receiver = session.receiver("policy", id=f"engine {rank}", group=("engines", rank, 2), **options)
            try:
                with receiver.stage(deadline=order["deadline"]) as staged:
                    whole = same(staged.tensors(), weights(staged.version.step))
                    report = receiver.activate(staged)
            except wsync.Error as why:
                orders.send((why.code, why.message, receiver.active_number))
            else:
                orders.send(("synced", report.step if whole else "other bytes", receiver.active_number))
        receiver.close()


class Member:
    """A rank of the group, in its process."""

    def __init__(self, folder: Path, rank: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._orders, theirs = context.Pipe()
        self.process = context.Process(target=member_process, args=(str(folder), rank, theirs), daemon=True)
        self.process.start()

    def sync(self, *, deadline: float = PATIENCE, **options: Any) -> None:
        """Begins it."""
        self._orders.send({"deadline": deadline, "options": options})

    def is_done(self, seconds: float) -> bool:
        return bool(self._orders.poll(seconds))

    def answer(self) -> Any:
        assert self.is_done(PATIENCE)
        return self._orders.recv()

    def end(self) -> None:
        if self.process.is_alive():
            self._orders.send({})
            self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@pytest.fixture
def members(folder: Path) -> Iterator[list[Member]]:
    """Two ranks. A test that replaces one has the other ended too."""
    both = [Member(folder, rank) for rank in range(2)]
    yield both
    for one in both:
        one.end()


def holds_of(publisher: wsync.Publisher, expected: int) -> int:
    """After at most a minute for `expected`."""
    deadline = time.monotonic() + PATIENCE
    while publisher.holds != expected and time.monotonic() < deadline:
        time.sleep(0.01)
    return publisher.holds


def test_two_processes_activate_together(session: wsync.Session, members: list[Member]) -> None:
    with session.publisher("policy", source=weights(0)) as publisher:
        for step in (1, 2, 3):
            publisher.publish_from(weights(step), step=step)
            first, second = members if step % 2 else reversed(members)
            first.sync()
            assert not first.is_done(0.3)  # it waits for the other one
            second.sync()
            assert [one.answer() for one in members] == [("synced", step, (1, step))] * 2


def test_one_that_does_not_come_keeps_the_other_on_its_version(session: wsync.Session, members: list[Member]) -> None:
    with session.publisher("policy", source=weights(0)) as publisher:
        for step in (1, 2):
            publisher.publish_from(weights(step), step=step)
            if step == 2:
                members[0].sync(deadline=0.5)
                code, message, active = members[0].answer()
                assert (code, active) == ("timed_out", (1, 1))
                assert "rank 1 (engine 1) does not ask for a version" in message
            for one in members:
                one.sync()
            assert [one.answer() for one in members] == [("synced", step, (1, step))] * 2


def test_one_that_dies_keeps_the_other_on_its_version_and_its_successor_goes_on_with_it(
    session: wsync.Session, members: list[Member], folder: Path
) -> None:
    with session.publisher("policy", source=weights(0)) as publisher:
        publisher.publish_from(weights(1), step=1)
        members[0].sync(use="map_then_install")
        members[1].sync()
        assert [one.answer() for one in members] == [("synced", 1, (1, 1))] * 2

        publisher.publish_from(weights(2), step=2)
        members[1].sync(deadline=10 * PATIENCE, bytes_per_second=SLOW)
        assert holds_of(publisher, 1) == 1  # it reads
        members[0].sync(use="map_then_install")
        assert holds_of(publisher, 2) == 2  # it has mapped it, and waits
        assert not members[0].is_done(0)
        members[1].process.kill()
        code, message, active = members[0].answer()
        assert (code, active) == ("peer_lost", (1, 1))
        assert "rank 1 (" in message and "engine 1) died while it staged" in message

        members[1].end()
        members[1] = Member(folder, 1)
        members[0].sync(use="map_then_install")
        members[1].sync()
        assert [one.answer() for one in members] == [("synced", 2, (1, 2))] * 2
        assert holds_of(publisher, 0) == 0
