"""What people use today from a sharded trainer to one receiver: gloo and torch.distributed.checkpoint. The sides are as in ours.py."""

import collections
import os

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as checkpoint

BUCKET_BYTES = 64 << 20
UNDER_WAY = 4  # whole tensors, or buckets, that are being sent


class Peer:
    def __init__(self, member):
        self.member = member
        self.buffers = []

    def begin_counting(self):
        pass

    def extra(self):
        """{role: bytes} that it keeps from round to round; what it allocates in a round is the kernel's to tell."""
        return {"buckets": sum(buffer.nbytes for buffer in self.buffers)} if self.buffers else {}


class GlooTensors(Peer):
    """full_tensor() of each parameter on every rank; rank 0 sends it on while the next is gathered."""

    name = "gloo.tensors"

    @torch.no_grad()
    def send(self, step):
        sending = collections.deque()
        for parameter in self.member.parameters:
            whole = parameter.full_tensor()
            if self.member.rank == 0:
                sending.append((dist.broadcast(whole, 0, group=self.member.pair, async_op=True), whole))
                if len(sending) > UNDER_WAY:
                    sending.popleft()[0].wait()
        for work, _ in sending:
            work.wait()

    def receive(self):
        for work in [dist.broadcast(whole, 0, group=self.member.pair, async_op=True) for whole in self.member.own.values()]:
            work.wait()
        return self.member.own, {}


class GlooBuckets(Peer):
    """Shards are packed into buckets; each is gathered on every rank, and rank 0 sends it on while the next is gathered."""

    name = "gloo.buckets"

    def __init__(self, member):
        super().__init__(member)
        self.buckets = [[]]  # of positions in specs; one tensor that is larger than a bucket is one by itself
        filled = 0
        sizes = [torch.Size(shape).numel() for _, shape in member.drawn.specs]
        for i, size in enumerate(sizes):
            if self.buckets[-1] and filled + 2 * size > BUCKET_BYTES:
                self.buckets.append([])
                filled = 0
            self.buckets[-1].append(i)
            filled += 2 * size
        self.numbers = [sum(sizes[i] for i in bucket) for bucket in self.buckets]
        self.buffers = [torch.empty(max(self.numbers), dtype=torch.bfloat16) for _ in range(2)]
        if member.is_trainer:
            self.buffers.append(torch.empty(max(self.numbers) // member.ranks, dtype=torch.bfloat16))

    @torch.no_grad()
    def send(self, step):
        works = [None, None]
        for k, (bucket, numbers) in enumerate(zip(self.buckets, self.numbers, strict=True)):
            if works[k % 2] is not None:
                works[k % 2].wait()
            own, whole = self.buffers[2][: numbers // self.member.ranks], self.buffers[k % 2][:numbers]
            torch.cat([self.member.parameters[i].to_local().flatten() for i in bucket], out=own)
            dist.all_gather_single(whole, own, group=self.member.trainers.get_group())
            if self.member.rank == 0:
                works[k % 2] = dist.broadcast(whole, 0, group=self.member.pair, async_op=True)
        for work in works:
            if work is not None:
                work.wait()

    def receive(self):
        def post(k):
            return dist.broadcast(self.buffers[k % 2][: self.numbers[k]], 0, group=self.member.pair, async_op=True)

        own = list(self.member.own.values())
        works = [post(k) for k in range(min(2, len(self.buckets)))]
        for k, bucket in enumerate(self.buckets):
            works[k].wait()
            for r, part in enumerate(self.buffers[k % 2][: self.numbers[k]].chunk(self.member.ranks)):
                at = 0
                for i in bucket:
                    piece = own[i].chunk(self.member.ranks)[r]
                    piece.copy_(part[at : at + piece.numel()].view(piece.shape))
                    at += piece.numel()
            if k + 2 < len(self.buckets):
                works.append(post(k + 2))
        return self.member.own, {}


class Checkpoint(Peer):
    """Each rank saves its shards, unsynced; the receiver reads all into its own tensors."""

    def __init__(self, member, name, folder):
        super().__init__(member)
        self.name, self.folder = name, os.path.join(folder, name)

    def send(self, step):
        state = {name: parameter.detach() for (name, _), parameter in zip(self.member.drawn.specs, self.member.parameters, strict=True)}
        writer = checkpoint.FileSystemWriter(self.folder, sync_files=False, overwrite=True)
        checkpoint.save(state, storage_writer=writer, process_group=self.member.trainers.get_group())
        dist.barrier()

    def receive(self):
        dist.barrier()
        checkpoint.load(self.member.own, storage_reader=checkpoint.FileSystemReader(self.folder), no_dist=True)
        return self.member.own, {}
