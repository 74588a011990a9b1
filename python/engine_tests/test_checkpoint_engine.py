"""checkpoint-engine's real consumer takes versions from wsync's producer."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])

import consumer
import engines
import pytest
import torch

import wsync
from wsync.checkpoint_engine import Producer

SERVER = multiprocessing.get_context("forkserver")  # processes that have torch already, and nothing of the producer's
SERVER.set_forkserver_preload(["consumer"])


def parameters(step: int) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(step)
    odd = {f"odd.{i}": torch.randint(0, 256, (i + 1,), generator=rng, dtype=torch.uint8) for i in range(5)}  # misaligns what would follow
    layers = {f"layers.{i}.weight": torch.randn(129, 65, generator=rng).to(torch.bfloat16) for i in range(20)}
    return {**odd, **layers, "norm.weight": torch.randn(65, generator=rng), "scale": torch.tensor(float(step))}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]) for name in a)


def consumers(folder: Path, fail_at: str = "") -> Callable[[dict[str, str]], None]:
    """What an engine does when it is asked to update: one consumer for each worker, each in a process of its own."""

    def run(addresses: dict[str, str]) -> None:
        running = [SERVER.Process(target=consumer.consume, args=(address, folder / device, fail_at)) for device, address in addresses.items()]
        for one in running:
            one.start()
        for one in running:
            one.join(300)
        if any(one.exitcode for one in running):
            raise RuntimeError([file.read_text() for file in folder.glob("*/error")])

    return run


@pytest.mark.parametrize("buffer_bytes", [0, 1 << 20])
def test_two_workers_take_every_version(session: wsync.Session, folder: Path, buffer_bytes: int) -> None:
    """Without a size a half holds the largest tensor, and each batch is one or two tensors; else all go in one."""
    publisher = session.publisher("policy", source=parameters(1))
    with Producer(f"dir:{folder}", ["GPU-a", "GPU-b"], buffer_bytes=buffer_bytes, socket_directory=str(folder / "sockets"), deadline=300) as producer:
        for step in (1, 2, 3):
            version = publisher.publish_from(parameters(step), step=step)
            report = producer.update(consumers(folder), label=version.label)
            assert report.version == version.label and report.verification != "none" and report.stages["install"] > 0
            for device in producer.devices:
                assert equal(torch.load(folder / device / "loaded.pt"), parameters(step))
        assert engines.holds_of(publisher, 0) == 0
    publisher.close()


def test_a_worker_that_stumbles_is_named_and_a_whole_version_heals_it(session: wsync.Session, folder: Path) -> None:
    publisher = session.publisher("policy", source=parameters(1))
    with Producer(f"dir:{folder}", ["GPU-a"], socket_directory=str(folder / "sockets"), deadline=300) as producer:
        publisher.publish_from(parameters(1), step=1)
        with pytest.raises(wsync.Error, match=r"GPU-a failed at .*layers.7.weight has no place in this model") as caught:
            producer.update(consumers(folder, "layers.7.weight"))
        assert caught.value.code == "unavailable"
        assert not (folder / "GPU-a" / "loaded.pt").exists()
        producer.update(consumers(folder))
        assert equal(torch.load(folder / "GPU-a" / "loaded.pt"), parameters(1))
    publisher.close()


def test_an_engine_that_refuses_is_an_error_at_once(session: wsync.Session, folder: Path) -> None:
    def refuse(addresses: dict[str, str]) -> None:
        raise RuntimeError("HTTP 503: paused")

    publisher = session.publisher("policy", source=parameters(1))
    publisher.publish_from(parameters(1), step=1)
    with Producer(f"dir:{folder}", ["GPU-a"], socket_directory=str(folder / "sockets"), deadline=300) as producer:
        with pytest.raises(wsync.Error, match="refused the update: RuntimeError: HTTP 503: paused"):
            producer.update(refuse)
    publisher.close()
