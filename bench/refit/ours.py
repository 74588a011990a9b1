"""wsync's ways from a sharded trainer to one receiver. Each object is one process's side of a way: send() on every rank, receive() on the receiver."""

import wsync
import wsync.torch


class Live:
    """The parameters lie in the slab: a publication copies nothing."""

    name = "wsync.live"
    slabs = 1

    def __init__(self, member):
        self.session = wsync.Session.open(f"dir:{member.folder}/control", socket_directory=f"{member.folder}/sockets", tcp_host="", kernels=member.kernels)
        if member.is_trainer:
            self.publisher = wsync.torch.publisher(self.session, self.name, member.module, group=member.trainers.get_group(), slabs=self.slabs)
            self.start(member)
        else:
            self.receiver = self.session.receiver(self.name, transports=["shm"], threads=member.threads)

    def start(self, member):
        self.publisher.adopt()
        self.publisher.guard(member.optimizer)

    def send(self, step):
        self.publisher.publish(step=step)

    def receive(self):
        """({name: tensor}, facts)"""
        report = self.receiver.sync(deadline=120)
        views = wsync.torch.tensors(self.receiver.pin())
        stages = report.stages
        return views, {"stages": stages, "steady_seconds": report.seconds - stages["prepare"], "bytes_moved": report.bytes_moved,
                       "verification": report.verification, "transport": report.transport, "configuration": report.configuration}

    def begin_counting(self):
        self.session.reset_peak()

    def extra(self):
        """{role: bytes} beside the parameters, by the ledger."""
        return {role: size for role, size in self.session.peak_extra_bytes().items() if self.slabs > 1 or role != "trainer slab"}


class Snapshot(Live):
    """The parameters are copied into one of two slabs, and training may go on."""

    name = "wsync.snapshot"
    slabs = 2

    def start(self, member):
        pass
