"""The trainer's side of vLLM's API: publish, then make the engines behind the client take what was published."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from vllm.distributed.weight_transfer import base

from .._error import Error
from .._session import Session
from .._wsync import Version
from ..torch import StreamPublisher, dtype_name
from ..torch._stream import Specs
from ._client import Client
from ._push import PushReport, push


@dataclass
class TrainerInit(base.TrainerInitInfo):
    """`rank` (keyword): this trainer process's; rank 0 publishes, the others only take part in what the source does."""

    backend: ClassVar[str] = "wsync"
    control: str  # "dir:/run/policy"
    name: str = "policy"
    socket_directory: str = ""
    tcp_host: str = "127.0.0.1"
    slabs: int = 2
    threads: int = 1
    worker: dict[str, Any] = field(default_factory=dict)  # more fields of the workers' InitInfo, or others: how they see `control`


class TrainerEngine(base.TrainerWeightTransferEngine):
    """Through WeightTransferTrainerFactory.trainer_init(TrainerInit(...), client=..., source=...). `source` is vLLM's WeightSource."""

    init_info_cls = TrainerInit

    def __init__(self, *, info: TrainerInit, client: Client, source: Any, session: Session | None, publisher: StreamPublisher | None) -> None:
        super().__init__(client=client, source=source, is_sender=info.rank == 0)
        self.rank = info.rank  # from 0.33 on vLLM's own engines have it
        self.session = session
        self.publisher = publisher
        self.step = 0
        self.version: Version | None = None  # that the engines have
        self.report: PushReport | None = None  # of the last send_weights

    @classmethod
    def trainer_init(cls, init_info: TrainerInit, *, client: Client, source: Any = None) -> Self:
        if source is None:
            raise Error("invalid_argument", "the backend wsync needs source=: a WeightSource, such as ModuleSource(module)")
        specs = _specs_of(source)
        if init_info.rank != 0:
            return cls(info=init_info, client=client, source=source, session=None, publisher=None)
        session = Session.open(init_info.control, socket_directory=init_info.socket_directory, tcp_host=init_info.tcp_host)
        publisher = StreamPublisher(session, init_info.name, specs=specs, slabs=init_info.slabs, threads=init_info.threads)
        own = {"control": init_info.control, "name": init_info.name, "socket_directory": init_info.socket_directory}
        client.init_weight_transfer_engine({**own, **init_info.worker})
        return cls(info=init_info, client=client, source=source, session=session, publisher=publisher)

    def send_weights(self, *, step: int | None = None) -> None:
        """On every rank. Returns when the engines have the weights of now; `step`: of the trainer, else counted from 1."""
        self.step = self.step + 1 if step is None else step
        tensors = iter(self.source.iter_full() if hasattr(self.source, "iter_full") else self.source)
        if self.publisher is None:
            for _ in tensors:  # materializing them is a collective
                pass
            return
        version = self.publisher.publish(tensors, step=self.step)
        self.report = push(self.client, version.label)
        self.version = version

    def shutdown(self) -> None:
        if self.publisher is not None:
            self.publisher.close()
        if self.session is not None:
            self.session.close()
        self.publisher = self.session = None


def _specs_of(source: Any) -> Specs:
    """What it will yield. From vLLM 0.33 on `metadata` is a property, and says which ranks have a tensor (`owners`; None: all)."""
    if hasattr(source, "implements_iter_full") and not source.implements_iter_full():
        raise Error("unsupported", f"{type(source).__name__} has no iter_full, and whole tensors are published: use wsync.torch.publisher")
    metadata = source.metadata() if callable(source.metadata) else source.metadata
    for one in metadata:
        owners = getattr(one, "owners", None)
        if owners is not None and 0 not in owners:
            raise Error("unsupported", f"only ranks {list(owners)} have {one.name}, and rank 0 publishes: use wsync.torch.publisher")
    return [(one.name, dtype_name(one.dtype), tuple(one.shape)) for one in metadata]
