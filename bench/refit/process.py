"""One process of bench/refit: a rank of the trainer, or its receiver. Argument: JSON; it is asked by run.py, a line at a time."""

import json
import os
import pathlib
import socket
import sys
import time
import warnings

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "peers"))
import ours
import peers
from conversation import Answers
from model import Draw, Drawn, bytes_of, module_of, specs_of
from tcp_sockets import connections

UNTOUCHED = -21846  # what a receiver's own tensors have before each way


def kernel_memory():
    """VmRSS, VmHWM, RssAnon of this process in bytes."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines if line.startswith(("VmRSS", "VmHWM", "RssAnon"))}


def use_reno():
    """On gloo's sockets, as wsync does on its own over loopback: the faster there. No system setting is touched."""
    for handle in connections().values():
        with handle:
            handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")


class Member:
    """A rank of the trainer (0 to ranks - 1), or the receiver, which is the one after."""

    def __init__(self, given):
        self.rank, self.ranks, self.folder = given["rank"], given["ranks"], given["memory"]
        self.is_trainer = self.rank < self.ranks
        self.threads, self.kernels = given["threads"], given["kernels"]
        torch.set_num_threads(1 if self.is_trainer else self.threads)
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        dist.init_process_group("gloo", init_method=f"file://{self.folder}/rendezvous", rank=self.rank, world_size=self.ranks + 1)
        self.trainers = DeviceMesh("cpu", list(range(self.ranks)))
        self.pair = dist.new_group([0, self.ranks], backend="gloo")
        self.drawn = Drawn(specs_of(given["model"]))
        if self.is_trainer:
            self.make_module()
        else:
            self.own = {name: torch.empty(shape, dtype=torch.bfloat16) for name, shape in self.drawn.specs}
        makers = {
            "wsync.live": ours.Live, "wsync.snapshot": ours.Snapshot, "gloo.tensors": peers.GlooTensors, "gloo.buckets": peers.GlooBuckets,
            "dcp.tmpfs": lambda member: peers.Checkpoint(member, "dcp.tmpfs", given["memory"]),
            "dcp.disk": lambda member: peers.Checkpoint(member, "dcp.disk", given["disk"]),
        }
        self.ways = {name: makers[name](self) for name in given["ways"]}

    def make_module(self):
        """FSDP2, a unit for each layer, as trainers have it."""
        self.module = module_of(self.drawn.specs)
        for layer in self.module.model.layers.children():
            fully_shard(layer, mesh=self.trainers)
        fully_shard(self.module, mesh=self.trainers)
        self.module.to_empty(device="cpu")
        named = dict(self.module.named_parameters())
        self.parameters = [named[name] for name, _ in self.drawn.specs]
        self.optimizer = Draw(self.parameters, self.drawn, self.rank, self.ranks)

    def handle(self, message):
        match message["do"]:
            case "step":
                self.optimizer.step()
                return {}
            case "prepare":
                for whole in self.own.values():
                    whole.view(torch.int16).fill_(UNTOUCHED)
                use_reno()
                return {}
            case "send":
                return self.send(self.ways[message["way"]], message["step"])
            case "receive":
                return self.receive(self.ways[message["way"]], message["step"])
        raise ValueError(f"nobody knows how to {message['do']}")

    def send(self, way, step):
        use_reno()
        way.begin_counting()
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        before = kernel_memory()
        began = time.monotonic()
        way.send(step)
        ended = time.monotonic()
        after = kernel_memory()
        growth = {"peak": max(0, after["VmHWM"] - before["VmRSS"]), "anonymous": max(0, after["RssAnon"] - before["RssAnon"])}
        return {"began": began, "ended": ended, "kept": way.extra(), "growth": growth}

    def receive(self, way, step):
        tensors, facts = way.receive()
        ended = time.monotonic()
        self.drawn.check(tensors, step)
        return {"ended": ended, "bytes_checked": sum(tensor.nbytes for tensor in tensors.values()), **facts}


def main():
    given = json.loads(sys.argv[1])
    member = None

    def handle(message):
        nonlocal member
        if message["do"] == "open":  # all at once: each waits for the others
            member = Member(given)
            return {"bytes": bytes_of(member.drawn.specs), "tensors": len(member.drawn.specs)}
        return member.handle(message)

    for told in ("torch.distributed is disabled", "Detected an existing checkpoint"):  # as the checkpoint ways are told to do
        warnings.filterwarnings("ignore", message=told)
    Answers().serve(lambda: ({"ready": True}, handle))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
