"""torch.distributed's gloo broadcast between two processes over loopback. Arguments: CHECKPOINT THREADS.

Two groups with sockets of their own: one as it comes, one under the congestion control that wsync chooses for loopback
(set on its sockets: no system setting is touched). Shapes: one broadcast for each tensor, 64 MiB buckets, one flat buffer.
"""
import os
import socket
import sys
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from conversation import Answers
from tcp_sockets import connections
from weights import Weights

BUCKET = 64 << 20


def congestion_control(handle):
    return handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()


class Member:
    def __init__(self, rank, path, threads, rendezvous, empty):
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        torch.set_num_threads(threads)
        self.rank, self.path = rank, path
        self.weights = Weights(path, empty)
        dist.init_process_group("gloo", init_method="file://" + rendezvous, rank=rank, world_size=2)
        # The first broadcast connects; what is new after it are the group's sockets.
        self.groups, self.used = {}, {}
        for name in ("default", "reno"):
            before = set(connections())
            group = dist.new_group([0, 1], backend="gloo")
            dist.broadcast(torch.zeros(1), 0, group=group)
            dist.barrier(group=group)
            new = [handle for fd, handle in connections().items() if fd not in before]
            if not new:
                raise RuntimeError("gloo's sockets are not to be found: its congestion control can't be set")
            for handle in new:
                if name != "default":
                    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
                self.used[name] = congestion_control(handle)
            self.groups[name] = group

    def pieces(self, shape):
        if shape == "tensors":
            return [tensor.view(torch.uint8).view(-1) for tensor in self.weights.tensors.values()]
        return self.weights.flat.split(BUCKET if shape == "buckets" else self.weights.bytes)

    def broadcast(self, shape, group):
        """(begin, end) on the clock that both processes see."""
        pieces = self.pieces(shape)
        dist.barrier(group=self.groups[group])
        begin = time.monotonic()
        for piece in pieces:
            dist.broadcast(piece, 0, group=self.groups[group])
        return begin, time.monotonic()


def receive(path, threads, rendezvous, orders, results):
    member = Member(1, path, threads, rendezvous, empty=True)
    while (order := orders.get()) != "quit":
        if order == "check":
            member.weights.check(path)
            results.put("same bytes")
        else:
            results.put(member.broadcast(*order))


def main():
    path, threads = sys.argv[1], int(sys.argv[2])
    answers = Answers()
    with tempfile.TemporaryDirectory(prefix="wsync-peers-gloo-") as folder:
        rendezvous = os.path.join(folder, "rendezvous")

        def start():
            context = mp.get_context("spawn")
            orders, results = context.SimpleQueue(), context.SimpleQueue()
            context.Process(target=receive, args=(path, threads, rendezvous, orders, results), daemon=True).start()
            member = Member(0, path, threads, rendezvous, empty=False)

            def handle(message):
                if message["do"] == "check":
                    orders.put("check")
                    return {"same_bytes": results.get() == "same bytes"}
                order = (message["shape"], message["group"])
                orders.put(order)
                begin, _ = member.broadcast(*order)
                _, end = results.get()
                return {"seconds": end - begin}

            return {"ready": True, "bytes": member.weights.bytes, "tensors": len(member.weights.tensors), "congestion_control": member.used}, handle

        answers.serve(start)


if __name__ == "__main__":
    main()
