"""What test_torch.py runs in 2 and 4 processes (torchrun): each rank publishes its own shards, rank 0 receives all whole.

    torchrun --nproc-per-node=4 torch_ranks.py CONTROL_FOLDER
"""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.distributed.tensor.placement_types import _StridedShard

import wsync
import wsync.torch


def cases(step: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """(the DTensor, the whole) by name."""
    world = dist.get_world_size()
    flat = init_device_mesh("cpu", (world,))
    torch.manual_seed(step)
    made: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def add(name: str, shape: tuple[int, ...], mesh: object, *placements: object, dtype: torch.dtype = torch.float32) -> None:
        whole = torch.randn(shape).to(dtype)
        made[name] = (distribute_tensor(whole, mesh, placements), whole)

    add("rows", (16, 6), flat, Shard(0))
    add("columns", (5, 12, 3), flat, Shard(1))
    add("last", (5, 4, 8), flat, Shard(-1))
    add("uneven", (7, 5), flat, Shard(0), dtype=torch.bfloat16)
    add("few", (1, 9), flat, Shard(0))  # the others are empty
    add("whole", (3, 4), flat, Replicate(), dtype=torch.int64)
    add("vector", (world * 3 + 1,), flat, Shard(0))
    plain = torch.randn(4, 4)
    made["plain"] = (plain, plain)
    if world == 4:
        grid = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
        add("hsdp", (10, 4), grid, Replicate(), Shard(0))
        add("both", (9, 6), grid, Shard(0), Shard(1))
        add("twice", (11, 3), grid, Shard(0), Shard(0))
        add("strided", (16, 3), grid, _StridedShard(0, split_factor=2), Shard(0))
        add("pieces", (16, 3), grid, _StridedShard(0, split_factor=2), Replicate())
        add("piecesoflast", (3, 12), grid, Replicate(), _StridedShard(1, split_factor=3))
    return made


def check(views: wsync.Tensors, expected: dict[str, torch.Tensor], what: str) -> None:
    have = wsync.torch.tensors(views)
    assert have.keys() == expected.keys(), (what, have.keys() ^ expected.keys())
    for name, whole in expected.items():
        assert have[name].dtype == whole.dtype, (what, name)
        assert torch.equal(have[name].contiguous().view(torch.uint8), whole.contiguous().view(torch.uint8)), (what, name)


def dtensors(session: wsync.Session) -> None:
    source = {name: one for name, (one, _) in cases(1).items()}
    with wsync.torch.publisher(session, "cases", source) as publisher, session.receiver("cases") as receiver:
        for step in (1, 2):
            now = cases(step)
            source.update({name: one for name, (one, _) in now.items()})
            publisher.publish(step=step)
            if dist.get_rank() == 0:
                assert receiver.sync(deadline=30).step == step
                pin = receiver.pin()
                assert pin is not None
                check(pin, {name: whole for name, (_, whole) in now.items()}, f"step {step}")
                del pin
            dist.barrier()
        own = publisher.layout.nbytes(dist.get_rank())
        assert own < sum(whole.nbytes for _, (_, whole) in cases(1).items()), "a rank holds its own shards only"


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(20, 8)
        self.up = torch.nn.Linear(8, 24)
        self.down = torch.nn.Linear(24, 8, bias=False)
        self.head = torch.nn.Linear(8, 20, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("scale", torch.ones(3))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.down(torch.relu(self.up(self.embed(ids)))))
        return out


def whole_of(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    named = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    return {name: (one.full_tensor() if hasattr(one, "full_tensor") else one).detach() for name, one in named.items()}


def fsdp(session: wsync.Session) -> None:
    """FP32 masters under FSDP2 (with tensor parallelism on 4 ranks), published as BF16; and live, from parameters in the slab."""
    world = dist.get_world_size()
    for live in (False, True):
        torch.manual_seed(0)
        net = Net()
        if world == 4:
            grid = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
            parallelize_module(net, grid["tp"], {"up": ColwiseParallel(), "down": RowwiseParallel()})
            fully_shard(net, mesh=grid["dp"])
        else:
            fully_shard(net)
        name = f"net{live:d}"
        options = {"slabs": 1} if live else {"dtype": torch.bfloat16}
        with wsync.torch.publisher(session, name, net, **options) as publisher, session.receiver(name) as receiver:
            assert {spec[0] for spec in publisher.layout.manifest.tensors} == {"embed.weight", "up.weight", "up.bias", "down.weight", "scale"}
            if live:
                moved = publisher.adopt()
                assert moved == publisher.layout.nbytes(dist.get_rank()) - net.scale.nbytes, "all but the buffer"
            optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
            if live:
                publisher.guard(optimizer)
            for step in (1, 2):
                net(torch.arange(20)).square().mean().backward()
                optimizer.step()
                optimizer.zero_grad()
                publisher.publish(step=step)
                expected = whole_of(net)
                if not live:
                    expected = {key: one.bfloat16() for key, one in expected.items()}
                if dist.get_rank() == 0:
                    assert receiver.sync(deadline=30).step == step
                    pin = receiver.pin()
                    assert pin is not None
                    check(pin, expected, f"{name}, step {step}")
                    del pin
                dist.barrier()


def stages(session: wsync.Session) -> None:
    """Each rank has a layer of its own, as in pipeline parallelism, and one that all have."""
    rank = dist.get_rank()
    torch.manual_seed(9)
    layers = [torch.nn.Linear(3, 2) for _ in range(dist.get_world_size())]
    own = {f"layers.{rank}.weight": layers[rank].weight, "shared": torch.ones(2)}
    with wsync.torch.publisher(session, "stages", own) as publisher, session.receiver("stages") as receiver:
        publisher.publish(step=1)
        if rank == 0:
            receiver.sync(deadline=30)
            pin = receiver.pin()
            assert pin is not None
            check(pin, {"shared": torch.ones(2), **{f"layers.{i}.weight": layer.weight.detach() for i, layer in enumerate(layers)}}, "stages")
            del pin
        dist.barrier()


def main() -> None:
    dist.init_process_group("gloo")
    folder = sys.argv[1]
    with wsync.Session.open(f"dir:{folder}", socket_directory=f"{folder}/sockets") as session:
        dtensors(session)
        fsdp(session)
        stages(session)
    print(f"rank {dist.get_rank()} is done")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
