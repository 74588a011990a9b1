"""wsync's loader and controller against a server of our own with SGLang's rules for weight updates, and with SGLang's own classes in its workers.
SGLang itself needs CUDA."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from sglang_server import Model, OwnClasses, Rank, Server

import wsync
import wsync.sglang._loader as loader
from wsync.sglang import Controller
from wsync.sglang._controller import LOADER
from wsync.sglang._order import Order, answers, answers_folder

SHAPES = {f"layers.{i}.weight": (64, 32) for i in range(6)} | {"norm.weight": (32,)}


def weights(step: int, shapes: dict[str, tuple[int, ...]] = SHAPES) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(step)
    return {name: torch.randn(shape, generator=rng).to(torch.bfloat16) for name, shape in shapes.items()}


def serves(model: Model | Rank, step: int) -> bool:
    have = model.tensors
    return all(torch.equal(have[name], tensor) for name, tensor in weights(step).items())


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Rank]]:
    """Two, with SGLang's own classes."""
    meeting = tmp_path_factory.mktemp("ranks") / "meeting"
    started = [Rank(number, 2, meeting, SHAPES) for number in range(2)]
    assert [one.answer() for one in started] == ["ready", "ready"]
    yield started
    for one in started:
        one.end()
    assert [one.process.exitcode for one in started] == [0, 0]


@pytest.fixture(params=["sessions", "before sessions", "its own classes"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Two workers."""
    if request.param == "its own classes":
        found: Server = OwnClasses(request.getfixturevalue("ranks"))
        yield found
        found.close()
    else:
        found = Server([Model(SHAPES), Model(SHAPES)], sessions=request.param == "sessions")
        with two_workers_in_this_process(found):
            yield found
            found.close()
    assert not found.ended, "an exception got out of the loader"


@contextlib.contextmanager
def two_workers_in_this_process(server: Server) -> Iterator[None]:
    """Their ranks and their state, of two processes in truth, are told apart by the rank."""
    homes: dict[int, dict[tuple[str, str], loader._Worker]] = {0: {}, 1: {}}

    class Homes:
        def setdefault(self, key: tuple[str, str], made: loader._Worker) -> loader._Worker:
            return homes[server.rank.number].setdefault(key, made)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "_rank", lambda: server.rank.number)
        patch.setattr(loader, "_WORKERS", Homes())
        yield
    for workers in homes.values():
        for one in workers.values():
            if one.staged is not None:
                one.staged.drop()
            if one.follower is not None:
                one.follower.close()


def was_open(server: Server) -> bool:
    """Whether a session was; it is ended."""
    return server.answer("end_weight_update", {})[0] == 200


@pytest.fixture
def controller(server: Server, folder: Path) -> Controller:
    return controller_of(server, folder, 10)


def controller_of(server: Server, folder: Path, deadline: float) -> Controller:
    return Controller([server.url], f"dir:{folder}", socket_directory=str(folder / "sockets"), deadline=deadline)


def test_every_worker_gets_every_version(server: Server, controller: Controller, session: wsync.Session, folder: Path) -> None:
    with session.publisher("policy", source=weights(0)) as publisher:
        for step in (1, 2, 3):
            server.busy_flushes = 3
            version = publisher.publish_from(weights(step), step=step)
            found = controller.push(version.label)
            assert all(serves(model, step) for model in server.models)
            assert server.version == version.label and not server.paused and not was_open(server)
            assert [metrics["wsync/step"] for metrics in found[server.url]] == [step, step]
        assert publisher.holds == 0
    last = server.log[-server.log[::-1].index("pause_generation") - 1 :]
    assert last.index("flush_cache") < last.index("update_weight_version") < last.index("continue_generation")
    assert not list(answers_folder(f"dir:{folder}").iterdir())


def test_what_can_not_be_staged_touches_nothing(server: Server, controller: Controller, session: wsync.Session, folder: Path) -> None:
    with session.publisher("policy", source=weights(0)) as publisher:
        first = publisher.publish_from(weights(1), step=1)
        controller.push(first.label)
        hasty = controller_of(server, folder, 0.5)  # each worker waits that long for a version
        with pytest.raises(wsync.Error, match=r"no weight was touched"):
            hasty.push("policy@1.9+00000000")
        assert not server.paused and not was_open(server) and not hasty.marked and server.version == first.label
        assert all(serves(model, 1) for model in server.models)
        controller.push(publisher.publish_from(weights(2), step=2).label)
        assert all(serves(model, 2) for model in server.models)


def test_another_set_of_tensors_is_refused(server: Server, controller: Controller, session: wsync.Session) -> None:
    with session.publisher("policy", source=weights(0)) as publisher:
        controller.push(publisher.publish_from(weights(1), step=1).label)
    fewer = {name: shape for name, shape in SHAPES.items() if name != "layers.3.weight"}
    with session.publisher("policy", source=weights(0, fewer)) as publisher:
        with pytest.raises(wsync.Error, match=r"layers.3.weight is None, and was .*; no weight was touched"):
            controller.push(publisher.publish_from(weights(2, fewer), step=2).label)
    assert all(serves(model, 1) for model in server.models)
    assert not server.paused and not was_open(server)


def test_a_loader_that_fails_half_way_leaves_the_server_paused_until_a_whole_version(server: Server, controller: Controller, session: wsync.Session) -> None:
    with session.publisher("policy", source=weights(0)) as publisher:
        first = publisher.publish_from(weights(1), step=1)
        controller.push(first.label)
        server.models[1].stumble_at = "layers.4.weight"
        second = publisher.publish_from(weights(2), step=2)
        with pytest.raises(wsync.Error, match=r"rank 1: ValueError: layers.4.weight: out of memory; the server holds a part of it now"):
            controller.push(second.label)
        assert server.paused and controller.marked == second.label and server.version == first.label
        server.models[1].stumble_at = ""
        third = publisher.publish_from(weights(3), step=3)
        controller.push(third.label)
        assert not server.paused and not controller.marked and server.version == third.label
        assert all(serves(model, 3) for model in server.models)


def test_a_session_that_was_left_open_is_ended_first(server: Server, controller: Controller, session: wsync.Session) -> None:
    server.answer("begin_weight_update", {})
    with session.publisher("policy", source=weights(0)) as publisher:
        controller.push(publisher.publish_from(weights(1), step=1).label)
    assert all(serves(model, 1) for model in server.models) and not was_open(server)


def test_outside_a_session_a_loader_is_not_called(server: Server, controller: Controller, folder: Path) -> None:
    """As SGLang has it, so that the server above is one like it."""
    order = Order("stage", f"dir:{folder}", "policy", "policy@1.1", "call", str(folder / "answers"), {"socket_directory": str(folder / "sockets")}, 0.1).serialized()
    code, said = server.answer("update_weights_from_tensor", {"serialized_named_tensors": [order] * 2, "load_format": LOADER, "flush_cache": False})
    if server.sessions:
        assert (code, said["message"]) == (400, "update_weights_from_tensor must run between begin_weight_update() and end_weight_update()")
        assert not (folder / "answers").exists()
    else:
        assert code == 200 and len(answers(folder / "answers", "call")) == 2


def test_the_loader_never_raises(folder: Path) -> None:
    model = Model(SHAPES)
    loader.load_weights(model, [("layers.0.weight", torch.zeros(3))])
    loader.load_weights(model, [("__wsync__", torch.frombuffer(bytearray(b"no json"), dtype=torch.uint8))])
    assert all(not tensor.any() for tensor in model.tensors.values())


def test_in_place_can_not_clear(folder: Path) -> None:
    with pytest.raises(wsync.Error, match="SGLang can't clear its cache under requests that are frozen in place"):
        Controller(["http://127.0.0.1:1"], f"dir:{folder}", on_update="in_place")
