"""wsync.torch: modules and DTensors in, torch tensors out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import wsync
import wsync.torch
from wsync.torch._shards import boxes_of, pieces_of


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(50, 8)
        self.norm = torch.nn.BatchNorm1d(8)
        self.head = torch.nn.Linear(8, 50, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.norm(self.embed(ids)))
        return out


def received(session: wsync.Session, name: str) -> dict[str, torch.Tensor]:
    with session.receiver(name) as receiver:
        receiver.sync()
        pin = receiver.pin()
        assert pin is not None
        return {key: one.clone() for key, one in wsync.torch.tensors(pin).items()}


@pytest.mark.parametrize("ranks", [2, 4])
def test_each_rank_publishes_its_own_shards(folder: Path, ranks: int) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "torch_ranks.py", str(folder)]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=200, check=False)
    said = [line for line in done.stderr.splitlines() if "Error" in line or "torch_ranks.py" in line]
    assert done.returncode == 0, "\n".join(said[:40])
    assert done.stdout.count("is done") == ranks


def test_tied_weights_once_buffers_too_and_masters_rounded_as_torch_does(session: wsync.Session) -> None:
    module = Tied()
    with torch.no_grad():
        module.embed.weight.view(torch.int32).random_(-(2**31), 2**31 - 1)  # every kind of number, NaNs among them
        module.embed.weight.nan_to_num_(nan=1.0)
    with wsync.torch.publisher(session, "policy", module, dtype=torch.bfloat16, threads=2) as publisher:
        assert publisher.publish(step=1).step == 1
        have = received(session, "policy")
    assert list(have) == ["embed.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]
    for name, one in module.state_dict().items():
        if name != "head.weight":
            expected = one.bfloat16() if one.is_floating_point() else one
            assert torch.equal(have[name].reshape(-1).view(torch.uint8), expected.reshape(-1).view(torch.uint8)), name


def test_names_and_types_can_be_chosen(session: wsync.Session) -> None:
    module = torch.compile(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4).double()))

    def names(name: str) -> str | None:
        return None if name.endswith("bias") else f"model.{name}"

    def dtypes(name: str, dtype: torch.dtype) -> torch.dtype:
        return torch.float16 if "1." in name else dtype

    with wsync.torch.publisher(session, "policy", module, names=names, dtype=dtypes) as publisher:
        publisher.publish(step=1)
        have = received(session, "policy")
    weights = module.state_dict()
    assert list(have) == ["model.0.weight", "model.1.weight"]
    assert torch.equal(have["model.0.weight"], weights["_orig_mod.0.weight"])
    assert torch.equal(have["model.1.weight"], weights["_orig_mod.1.weight"].half())


def test_adopted_parameters_are_published_without_a_copy_and_guarded(session: wsync.Session) -> None:
    module = Tied()
    with wsync.torch.publisher(session, "policy", module, slabs=1) as publisher, session.receiver("policy", use="map_then_install") as receiver:
        with torch.no_grad():
            before = module.embed.weight.clone()
        assert publisher.adopt() == sum(one.nbytes for one in module.parameters())
        assert torch.equal(module.embed.weight, before)
        assert module.head.weight is module.embed.weight
        optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
        publisher.guard(optimizer, deadline=0.3)
        for step in (1, 2):
            module(torch.arange(20)).square().mean().backward()
            optimizer.step()
            publisher.publish(step=step)
            staged = receiver.stage()
            views = wsync.torch.tensors(staged.tensors())
            assert torch.equal(views["embed.weight"], module.embed.weight)
            assert torch.equal(views["norm.running_mean"], module.norm.running_mean)
            held = views["embed.weight"].clone()
            module(torch.arange(20)).square().mean().backward()
            with pytest.raises(wsync.Error, match="receiver") as caught:
                optimizer.step()  # an engine reads it
            assert caught.value.code == "timed_out"
            assert torch.equal(views["embed.weight"], held)
            receiver.activate(staged)
            del views, staged
            optimizer.step()
            assert not torch.equal(module.embed.weight, held)
            publisher.publish(step=step + 10)
            receiver.sync()
    with wsync.torch.publisher(session, "other", module) as publisher, pytest.raises(wsync.Error, match="slabs=1"):
        publisher.adopt()


def test_another_shape_than_at_first_is_refused(session: wsync.Session) -> None:
    source = {"a": torch.zeros(4), "b": torch.zeros(4)}
    with wsync.torch.publisher(session, "policy", source) as publisher:
        source["b"] = torch.zeros(5)
        with pytest.raises(wsync.Error, match="b"):
            publisher.publish(step=1)
        del source["b"]
        with pytest.raises(wsync.Error, match="other tensors"):
            publisher.publish(step=1)
        source["b"] = torch.ones(4)
        publisher.publish(step=1)
        assert received(session, "policy")["b"].tolist() == [1, 1, 1, 1]


def test_every_type_comes_back_as_itself(session: wsync.Session) -> None:
    kinds = [
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16, torch.float16, torch.bfloat16, torch.int32, torch.uint32, torch.float32,
        torch.float64, torch.int64, torch.uint64, torch.complex64, torch.float8_e5m2, torch.float8_e4m3fn, torch.float8_e4m3fnuz,
        torch.float8_e5m2fnuz, torch.float8_e8m0fnu, torch.float4_e2m1fn_x2,
    ]  # fmt: skip
    source = {str(kind): (torch.arange(3 * 5 * kind.itemsize, dtype=torch.uint8) % 2).view(kind).view(3, 5) for kind in kinds}
    with wsync.torch.publisher(session, "policy", source) as publisher:
        publisher.publish(step=1)
        with session.receiver("policy") as receiver:
            receiver.sync()
            pin = receiver.pin()
            assert pin is not None
            have = wsync.torch.tensors(pin)
            for name, one in source.items():
                assert have[name].dtype == one.dtype
                assert have[name].shape == one.shape
                assert torch.equal(have[name].view(torch.uint8), one.view(torch.uint8)), name


@pytest.mark.parametrize("layers", [1, 2, 40])
def test_views_of_equal_tensors_at_equal_and_other_distances(session: wsync.Session, layers: int) -> None:
    """Interleaved, with layers that lack one or have it larger, scalars and several types: each its own values, in the layout's order."""
    source: dict[str, torch.Tensor] = {}
    for i in range(layers):
        source[f"{i}.up"] = torch.randn(4, 6).bfloat16()
        source[f"{i}.gate"] = torch.randn(4, 6).bfloat16()
        source[f"{i}.norm"] = torch.randn(7)
        if i % 5 != 3:
            source[f"{i}.down"] = torch.randn(6, 4 + i % 2).bfloat16()
        source[f"{i}.scale"] = torch.tensor(float(i))
        source[f"{i}.codes"] = torch.randint(0, 255, (4, 6), dtype=torch.uint8)
    for use in ("copy", "map_then_install"):
        with wsync.torch.publisher(session, use, source) as publisher, session.receiver(use, use=use) as receiver:
            publisher.publish(step=1)
            staged = receiver.stage()
            have = wsync.torch.tensors(staged.tensors())
            assert list(have) == list(source)
            for name, one in source.items():
                assert have[name].dtype == one.dtype
                assert have[name].is_contiguous()
                assert torch.equal(have[name], one), name
            del have, staged


def test_a_sum_that_was_not_made_is_refused() -> None:
    from torch.distributed.tensor import Partial

    with pytest.raises(wsync.Error, match="redistribute"):
        boxes_of((4,), [Partial()], (2,), (0,))


@pytest.mark.parametrize(
    ("shape", "mesh", "placements"),
    [
        ((13, 5), (4,), lambda shard, strided: [shard(0)]),
        ((3, 5), (4,), lambda shard, strided: [shard(0)]),
        ((12, 10), (2, 3), lambda shard, strided: [shard(1), shard(0)]),
        ((13,), (2, 3), lambda shard, strided: [shard(0), shard(0)]),
        ((24, 2), (2, 3), lambda shard, strided: [strided(0, split_factor=3), shard(0)]),
        ((25, 2), (2, 2), lambda shard, strided: [strided(0, split_factor=2), strided(0, split_factor=3)]),
    ],
)
def test_boxes_are_what_torch_cuts(shape: tuple[int, ...], mesh: tuple[int, ...], placements: Callable[..., Any]) -> None:
    """Beside DTensor's own cuts of the same tensor, each coordinate of the mesh."""
    import itertools

    from torch.distributed.tensor import Shard
    from torch.distributed.tensor.placement_types import _StridedShard

    whole = torch.arange(torch.Size(shape).numel()).view(shape)
    cuts = placements(Shard, _StridedShard)
    for where in itertools.product(*map(range, mesh)):
        local = whole
        for cut, parts, index in zip(cuts, mesh, where, strict=True):
            local = cut._split_tensor(local, parts, with_padding=False)[0][index]
        boxes = boxes_of(shape, cuts, mesh, where)
        assert sum(torch.Size(size).numel() for _, size in boxes) == local.numel()
        for (offset, size), piece in zip(boxes, pieces_of(local, boxes), strict=True):
            part = whole[tuple(slice(a, a + n) for a, n in zip(offset, size, strict=True))]
            assert torch.equal(piece, part), (where, offset, size)


def test_a_stream_of_tensors_is_published_one_at_a_time(session: wsync.Session) -> None:
    scratch = torch.empty(6)

    def stream(step: int, order: str = "abc") -> Any:
        for name in order:
            scratch.fill_(step + ord(name) / 3)  # each written over by the next
            yield name, scratch[:0] if name == "c" else scratch

    with wsync.torch.StreamPublisher(session, "policy", dtype=torch.bfloat16) as publisher:
        for step in (1, 2):
            assert publisher.publish(stream(step), step=step).step == step
            have = received(session, "policy")
            assert {name: one.tolist() for name, one in have.items()} == {
                name: torch.full((6,), step + ord(name) / 3).bfloat16().tolist() for name in "ab"
            }
        with pytest.raises(wsync.Error, match="b comes where a is expected"):
            publisher.publish(stream(3, "ba"), step=3)
        with pytest.raises(wsync.Error, match="end before b"):
            publisher.publish(stream(3, "a"), step=3)
        assert publisher.publish(stream(4), step=4).step == 4
