"""The trainer's side takes a WeightSource in both of vLLM's shapes: up to 0.32, and from 0.33 on. No engine: what was published is read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch

import wsync
import wsync.torch
from wsync.vllm import TrainerEngine, TrainerInit

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class ParamMeta:
    """vLLM's; `owners` came with 0.33."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    owners: tuple[int, ...] | None = None


class Source32:
    """metadata() is a method, and the source itself is iterated."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.passes = 0

    def metadata(self) -> list[ParamMeta]:
        return [ParamMeta(name, one.dtype, tuple(one.shape)) for name, one in self.weights.items()]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        self.passes += 1
        yield from self.weights.items()


class Source33:
    """metadata is a cached property with each tensor's owners, and one of two iterations, or both, are there."""

    def __init__(self, weights: Weights, owners: tuple[int, ...] | None = None, whole: bool = True) -> None:
        self.weights = weights
        self.owners = owners
        self.whole = whole
        self.passes = 0

    @cached_property
    def metadata(self) -> list[ParamMeta]:
        return [ParamMeta(name, one.dtype, tuple(one.shape), self.owners) for name, one in self.weights.items()]

    def implements_iter_full(self) -> bool:
        return self.whole

    def iter_full(self) -> Iterator[tuple[str, torch.Tensor]]:
        self.passes += 1
        yield from self.weights.items()

    def iter_local(self) -> Iterator[tuple[str, torch.Tensor]]:
        raise AssertionError("pieces are not asked for")


class Taking:
    """A client whose engine is a receiver."""

    def __init__(self) -> None:
        self.session: wsync.Session | None = None
        self.got: Weights = {}
        self.label = ""

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self.session = wsync.Session.open(init_info["control"], socket_directory=init_info["socket_directory"])
        self.receiver = self.session.receiver(init_info["name"])

    def start_weight_update(self) -> None:
        pass

    def update_weights(self, update_info: Any) -> None:
        with self.receiver.stage(deadline=20) as staged:
            assert staged.version.label == update_info["version"]
            self.got = {name: one.clone() for name, one in wsync.torch.tensors(staged.tensors()).items()}
            self.receiver.activate(staged)

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self.label = weight_version or ""


@pytest.fixture
def client() -> Iterator[Taking]:
    made = Taking()
    yield made
    if made.session is not None:
        made.receiver.close()
        made.session.close()


def weights() -> Weights:
    torch.manual_seed(1)
    return {"embed.weight": torch.randn(8, 6).bfloat16(), "norm.weight": torch.ones(6), "head.weight": torch.randn(4, 6)}


def info(folder: Path, rank: int = 0) -> TrainerInit:
    return TrainerInit(f"dir:{folder}", socket_directory=str(folder / "sockets"), rank=rank)


@pytest.mark.parametrize("shape", [Source32, Source33, lambda given: Source33(given, owners=(1, 0))], ids=["0.32", "0.33", "0.33 with owners"])
def test_each_round_sends_what_the_source_has_now(folder: Path, client: Taking, shape: Callable[[Weights], Any]) -> None:
    now = weights()
    source = shape(now)
    trainer = TrainerEngine.trainer_init(info(folder), client=client, source=source)
    assert (trainer.rank, trainer.is_sender) == (0, True)
    for step in (1, 2):
        now["norm.weight"] += step
        trainer.send_weights()
        assert client.got.keys() == now.keys()
        assert all(torch.equal(client.got[name], one) and client.got[name].dtype == one.dtype for name, one in now.items())
        assert trainer.version is not None and client.label == trainer.version.label
    assert source.passes == 2
    trainer.shutdown()


@pytest.mark.parametrize("shape", [Source32, Source33], ids=["0.32", "0.33"])
def test_another_rank_only_takes_part(folder: Path, client: Taking, shape: Callable[[Weights], Any]) -> None:
    source = shape(weights())
    trainer = TrainerEngine.trainer_init(info(folder, rank=1), client=client, source=source)
    assert (trainer.rank, trainer.is_sender) == (1, False)
    trainer.send_weights()
    assert source.passes == 1
    assert client.session is None
    trainer.shutdown()


def test_what_rank_0_does_not_have_whole_is_refused_before_anything_is_sent(folder: Path, client: Taking) -> None:
    for rank in (0, 1):  # on all, so that none waits for another
        with pytest.raises(wsync.Error, match=r"only ranks \[1, 2\] have embed.weight, and rank 0 publishes") as caught:
            TrainerEngine.trainer_init(info(folder, rank), client=client, source=Source33(weights(), owners=(1, 2)))
        assert caught.value.code == "unsupported"
        with pytest.raises(wsync.Error, match="Source33 has no iter_full"):
            TrainerEngine.trainer_init(info(folder, rank), client=client, source=Source33(weights(), whole=False))
    assert client.session is None
