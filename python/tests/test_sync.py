"""Trainer and receiver: in one process, and in real ones."""

from __future__ import annotations

import array
import ctypes
import json
import logging
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from checkpoint import same, weights

import wsync

np = pytest.importorskip("numpy")


def test_stage_activate_sync_rollback_and_pin(session: wsync.Session) -> None:
    with session.publisher("policy", source=weights(0)) as publisher, session.receiver("policy", id="engine 0") as receiver:
        assert receiver.pin() is None
        assert receiver.newest() is None
        assert receiver.active_number == (0, 0)
        with publisher.begin_write() as write:
            assert [shard[0] for shard in write.shards()] == list(weights(0))
            write.copy_from(weights(1))
            version = publisher.publish(write, step=1)
        assert version.label.startswith("policy@1.1+")
        assert (version.name, version.step, version.number) == ("policy", 1, 1)

        staged = receiver.stage()
        assert staged.version == version
        assert receiver.pin() is None
        assert same(staged.tensors(), weights(1))
        report = receiver.activate(staged)
        assert report.version == version.label
        assert report.verification == "content_at_rest"
        assert report.first
        with pytest.raises(wsync.Error) as caught:
            receiver.activate(staged)
        assert caught.value.code == "invalid_argument"

        publisher.publish_from(weights(2), step=2)
        report = receiver.sync()
        assert report.step == 2
        assert not report.first
        assert report.bytes_needed == report.bytes_moved == sum(one.nbytes for one in weights(2).values())
        assert abs(sum(report.stages.values()) - report.seconds) < 1e-9
        metrics = report.metrics()
        assert metrics["wsync/step"] == 2.0
        assert metrics["wsync/seconds"] == report.seconds
        assert json.loads(report.json())["schema"] == "wsync.sync/1"
        pinned = receiver.pin()
        assert pinned is not None
        assert same(pinned, weights(2))
        assert pinned.version.step == 2

        assert receiver.rollback() == version
        again = receiver.pin()
        assert again is not None
        assert same(again, weights(1))
        receiver.check_health()
        assert receiver.active_number == (1, 1)


def test_a_dropped_version_changes_nothing(session: wsync.Session) -> None:
    with session.publisher("policy", source=weights(0)) as publisher, session.receiver("policy") as receiver:
        publisher.publish_from(weights(1), step=1)
        receiver.sync()
        publisher.publish_from(weights(2), step=2)
        with receiver.stage():
            pass
        assert receiver.active_number == (1, 1)
        with publisher.begin_write() as write:
            write.copy_from(weights(3))
        with pytest.raises(wsync.Error):
            publisher.publish(write, step=3)
        assert receiver.sync().step == 2


def test_after_a_mark_the_next_version_is_waited_for(session: wsync.Session) -> None:
    with session.publisher("policy", source=weights(1)) as publisher, session.receiver("policy") as receiver:
        publisher.publish_from(weights(1), step=1)
        mark = receiver.newest()
        assert mark is not None
        with pytest.raises(wsync.Error, match="no version newer than policy@1.1") as caught:
            receiver.stage(after=mark, deadline=0.05)
        assert caught.value.code == "timed_out"
        publisher.publish_from(weights(2), step=2)
        assert receiver.stage(after=mark).version.step == 2


def test_wrong_parameters_are_named(session: wsync.Session) -> None:
    given = weights(1)
    with session.publisher("policy", source=given) as publisher, publisher.begin_write() as write:
        for change, name in [({"norm.weight": None}, "norm.weight"), ({"extra": given["scalar"]}, "extra"), ({"scalar": given["norm.weight"]}, "scalar")]:
            wrong = {key: value for key, value in {**given, **change}.items() if value is not None}
            with pytest.raises(wsync.Error, match=name) as caught:
                write.copy_from(wrong)
            assert caught.value.code == "invalid_argument"
        with pytest.raises(wsync.Error, match="not contiguous"):
            write.copy_from({**given, "embed.weight": given["embed.weight"][:, ::2]})
        with pytest.raises(wsync.Error, match="scalar"):
            write.copy_from({**given, "scalar": 3})


def test_views_keep_their_version(session: wsync.Session) -> None:
    publisher = session.publisher("policy", source=weights(0))
    receiver = session.receiver("policy", slabs=2)
    publisher.publish_from(weights(1), step=1)
    receiver.sync()
    pinned = receiver.pin()
    assert pinned is not None
    view = pinned["embed.weight"]
    numbers = np.asarray(view)
    raw = memoryview(pinned["norm.weight"])
    del pinned, view
    publisher.publish_from(weights(2), step=2)
    receiver.sync()
    publisher.publish_from(weights(3), step=3)
    with pytest.raises(wsync.Error) as caught:
        receiver.stage(deadline=0.2)  # both slabs are in use: one serves, one is looked at
    assert caught.value.code == "timed_out"
    assert np.array_equal(numbers, weights(1)["embed.weight"])
    del numbers
    with pytest.raises(wsync.Error):
        receiver.stage(deadline=0.2)
    receiver.close()
    publisher.close()
    assert bytes(raw) == weights(1)["norm.weight"].tobytes()
    with pytest.raises(wsync.Error, match="closed"):
        receiver.sync()
    with pytest.raises(wsync.Error, match="closed"):
        publisher.begin_write()


@pytest.mark.parametrize("use", ["map_then_install", "serve_in_place"])
def test_mapped_views_hold_the_trainers_slab(session: wsync.Session, use: Any) -> None:
    with session.publisher("policy", source=weights(0), slabs=2) as publisher, session.receiver("policy", use=use) as receiver:
        publisher.publish_from(weights(1), step=1)
        staged = receiver.stage()
        views = staged.tensors()
        view = views["embed.weight"]
        assert np.asarray(view).flags.writeable is False
        report = receiver.activate(staged)
        assert report.method == "shm_map"
        assert report.verification == "identity"
        assert publisher.holds == 1
        publisher.publish_from(weights(2), step=2)
        with pytest.raises(wsync.Error, match="receiver") as caught:
            publisher.begin_write(deadline=0.1)
        assert caught.value.code == "timed_out"
        assert np.array_equal(np.asarray(view), weights(1)["embed.weight"])
        receiver.sync()
        del view, views, staged
        publisher.begin_write(deadline=10).drop()


def test_buffers_without_numpy_and_bytes_of_other_types(session: wsync.Session) -> None:
    manifest = wsync.Manifest([("bf16", "bf16", (3, 2)), ("fp8", "F8_E4M3", (5,)), ("fp4", "F4", (4, 2)), ("f64", "f64", (2,))])
    given = {
        "bf16": bytearray(range(12)),
        "fp8": array.array("b", range(5)),
        "fp4": (ctypes.c_uint8 * 4)(9, 8, 7, 6),
        "f64": memoryview(array.array("d", [1.5, 2.5])),
    }
    with session.publisher("policy", source=manifest) as publisher, session.receiver("policy") as receiver:
        publisher.publish_from(given, step=1)
        receiver.sync()
        views = receiver.pin()
        assert views is not None
        for name, value in given.items():
            assert memoryview(views[name]).tobytes() == bytes(memoryview(value).cast("B")), name
        assert (views["bf16"].dtype, views["bf16"].shape, views["bf16"].nbytes) == ("BF16", (3, 2), 12)
        assert memoryview(views["f64"]).format == "d"
        assert np.from_dlpack(views["f64"]).tolist() == [1.5, 2.5]
        with pytest.raises(TypeError, match="not writable"):
            (ctypes.c_char * 12).from_buffer(views["bf16"])


def test_masters_are_rounded_on_the_way(session: wsync.Session) -> None:
    masters = np.array([[1.0, 1.00390625, 1.01171875], [-3.3, 65536.5, 1e-40]], dtype=np.float32)  # two lie between two BF16: ties to even
    with session.publisher("policy", source=wsync.Manifest([("w", "BF16", (2, 3)), ("i", "I32", (2,))])) as publisher, session.receiver("policy") as receiver:
        numbers = np.array([7, 8], dtype=np.int32)
        with publisher.begin_write() as write:
            with pytest.raises(wsync.Error, match="w"):
                write.copy_from({"w": masters, "i": numbers})  # bytes alone: twice too many
            with pytest.raises(wsync.Error, match="only F32 is cast to BF16") as caught:
                write.copy_from({"w": masters.astype(np.float64), "i": numbers}, cast=True)
            assert caught.value.code == "unsupported"
            write.copy_from({"w": masters, "i": numbers}, cast=True)
            publisher.publish(write, step=1)
        receiver.sync()
        views = receiver.pin()
        assert views is not None
        bits = np.frombuffer(bytes(views["w"]), dtype=np.uint16).astype(np.uint32) << 16
        assert bits.view(np.float32).tolist() == [1.0, 1.0, 1.015625, -3.296875, 65536.0, 2.0**-133]
        assert np.asarray(views["i"]).tolist() == [7, 8]


def test_a_shard_is_written_where_it_lies(session: wsync.Session) -> None:
    with session.publisher("policy", source=weights(0), slabs=1) as publisher, session.receiver("policy") as receiver:
        with publisher.begin_write() as write:
            for i, (name, _, _, _) in enumerate(write.shards()):
                np.frombuffer(write.region(i), dtype=np.uint8)[:] = np.frombuffer(weights(1)[name].tobytes(), dtype=np.uint8)
            with pytest.raises(IndexError):
                write.region(4)
            publisher.publish(write, step=1)
        receiver.sync()
        pin = receiver.pin()
        assert pin is not None
        assert same(pin, weights(1))


def test_two_ranks_and_a_half_receiver(session: wsync.Session) -> None:
    whole = np.arange(48, dtype=np.float32).reshape(8, 6)
    manifest = wsync.Manifest([("w", "f32", (8, 6))])
    layout = wsync.Layout(manifest, 2, [(0, "w", (0, 0), (5, 6)), (1, "w", (5, 0), (3, 6))])
    publishers = [session.publisher("policy", rank, 2, run="job", source=layout) for rank in range(2)]
    parts = [whole[:5], whole[5:]]
    wanted = wsync.Layout(manifest, 1, [(0, "w", (0, 3), (8, 3))], coverage="partial")
    with session.receiver("policy", wanted=wanted) as receiver:
        publishers[0].publish_from({"w": parts[0]}, step=1)
        with pytest.raises(wsync.Error) as caught:
            receiver.sync(deadline=0.05)
        assert caught.value.code == "timed_out"
        publishers[1].publish_from({"w": parts[1]}, step=1)
        receiver.sync()
        pin = receiver.pin()
        assert pin is not None
        assert (pin["w"].shape, pin["w"].offset, pin["w"].whole_shape) == ((8, 3), (0, 3), (8, 6))
        assert np.array_equal(np.asarray(pin["w"]), whole[:, 3:])
    for publisher in publishers:
        publisher.close()


def test_slots_receive_into_given_memory(session: wsync.Session) -> None:
    slots = [np.zeros(1 << 20, dtype=np.uint8) for _ in range(2)]
    with session.publisher("policy", source=weights(0)) as publisher, session.receiver("policy", slots=slots) as receiver:
        publisher.publish_from(weights(1), step=1)
        receiver.sync()
        pin = receiver.pin()
        assert pin is not None
        address = pin["embed.weight"].address
        assert any(slot.ctypes.data <= address < slot.ctypes.data + slot.nbytes for slot in slots)


def test_activate_all_is_all_or_none(session: wsync.Session) -> None:
    with session.publisher("policy", source=weights(0)) as publisher:
        receivers = [session.receiver("policy", id=f"engine {i}") for i in range(2)]
        publisher.publish_from(weights(1), step=1)
        staged = [receiver.stage() for receiver in receivers]
        wsync.activate_all(receivers, staged)
        assert [receiver.active_number for receiver in receivers] == [(1, 1), (1, 1)]
        for receiver in receivers:
            receiver.close()


def test_a_group_activates_together_or_not_at_all(session: wsync.Session) -> None:
    with session.publisher("policy", source=weights(0)) as publisher:
        receivers = [session.receiver("policy", id=f"engine {i}", group=("engines", i, 2)) for i in range(2)]
        publisher.publish_from(weights(1), step=1)
        with ThreadPoolExecutor(2) as threads:
            reports = list(threads.map(lambda receiver: receiver.sync(deadline=60), receivers))
        assert [report.step for report in reports] == [1, 1]
        publisher.publish_from(weights(2), step=2)
        with pytest.raises(wsync.Error) as caught:
            receivers[0].sync(deadline=0.5)  # the other one does not come
        assert caught.value.code == "timed_out"
        assert [receiver.active_number for receiver in receivers] == [(1, 1), (1, 1)]
        for receiver in receivers:
            receiver.close()


def test_log_records_are_structured(session: wsync.Session, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="wsync")
    with session.publisher("policy", source=weights(0)) as publisher, session.receiver("policy", id="engine 7") as receiver:
        publisher.publish_from(weights(1), step=1)
        receiver.sync()
        with pytest.raises(wsync.Error):
            receiver.sync(deadline=0)
        with pytest.raises(wsync.Error):
            publisher.publish_from({}, step=2)
    records = [record.wsync for record in caplog.records if record.name == "wsync"]
    assert [record["event"] for record in records] == ["publish", "sync", "failure", "failure"]
    published, synced, late, failed = records
    assert synced["version"] == published["version"]
    assert synced["peer"] == "engine 7"
    assert synced["metrics"]["wsync/step"] == 1
    assert (late["stage"], late["code"]) == ("stage", "timed_out")
    assert (failed["stage"], failed["code"]) == ("copy_from", "invalid_argument")
    assert caplog.records[-1].levelno == logging.ERROR


def test_other_threads_run_during_a_wait(session: wsync.Session) -> None:
    counted = 0
    receiver = session.receiver("policy")
    caught: list[str] = []

    def wait() -> None:
        try:
            receiver.stage(deadline=30)
        except wsync.Error as error:
            caught.append(error.code)

    waiting = threading.Thread(target=wait)
    waiting.start()
    deadline = time.monotonic() + 30
    busy = False
    while not busy and time.monotonic() < deadline:
        counted += 1
        try:
            receiver.stage(deadline=0)
        except wsync.Error as error:
            busy = error.code == "unavailable" and "another thread" in error.message
    assert busy
    receiver.interrupt()
    waiting.join(timeout=10)
    assert caught == ["cancelled"]
    assert counted > 0


def waiting_child(folder: str, call: str, ready: Any, result: Any) -> None:
    """Waits for what never comes; Ctrl-C must end it, and the next call must work."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever starts the tests in the background may have had it ignored
    with wsync.Session.open(control=f"dir:{folder}", socket_directory=folder + "/sockets") as session:
        publisher = session.publisher("own", source=weights(0))
        publisher.publish_from(weights(1), step=1)
        receiver = session.receiver("own", use="serve_in_place")
        receiver.sync()
        publisher.publish_from(weights(2), step=2)
        calls = {"stage": lambda: session.receiver("nobody").stage(deadline=None), "begin_write": lambda: publisher.begin_write(deadline=None)}
        ready.set()
        try:
            calls[call]()
        except KeyboardInterrupt:
            receiver.sync()
            result.send(("interrupted", receiver.active_number))
        else:
            result.send(("returned", None))


@pytest.mark.parametrize("call", ["stage", "begin_write"])
def test_ctrl_c_ends_a_wait(folder: Path, call: str) -> None:
    context = multiprocessing.get_context("spawn")
    ready, (mine, theirs) = context.Event(), context.Pipe()
    child = context.Process(target=waiting_child, args=(str(folder), call, ready, theirs), daemon=True)
    child.start()
    assert ready.wait(60)
    assert not mine.poll(0.3)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGINT)
    assert mine.poll(30)
    assert mine.recv() == ("interrupted", (1, 2))
    child.join(30)
    assert child.exitcode == 0


def trainer_process(folder: str, steps: int, ready: Any) -> None:
    with wsync.Session.open(control=f"dir:{folder}", socket_directory=folder + "/sockets") as session, session.publisher("policy", source=weights(0)) as publisher:
        for step in range(1, steps + 1):
            publisher.publish_from(weights(step), step=step)
            ready.recv()


def engine_process(folder: str, options: dict[str, Any], result: Any) -> None:
    with wsync.Session.open(control=f"dir:{folder}", socket_directory=folder + "/sockets") as session, session.receiver("policy", **options) as receiver:
        for _ in range(3):
            report = receiver.sync(deadline=60)
            pin = receiver.pin()
            assert pin is not None
            result.send((report.step, report.method, same(pin, weights(report.step))))
            del pin


@pytest.mark.parametrize("options", [{}, {"use": "serve_in_place"}, {"transports": ["tcp"]}])
def test_real_processes(folder: Path, options: dict[str, Any]) -> None:
    context = multiprocessing.get_context("spawn")
    (results, child_end), (go, trainer_end) = context.Pipe(), context.Pipe()
    trainer = context.Process(target=trainer_process, args=(str(folder), 3, trainer_end))
    engine = context.Process(target=engine_process, args=(str(folder), options, child_end))
    trainer.start()
    engine.start()
    method = "shm_map" if "use" in options else "tcp" if "transports" in options else "shm_copy"
    for step in range(1, 4):
        assert results.poll(60)
        assert results.recv() == (step, method, True)
        go.send(True)
    trainer.join(30)
    engine.join(30)
    assert (trainer.exitcode, engine.exitcode) == (0, 0)
