"""What is said to a worker: InitInfo once, UpdateInfo with each update. JSON alone: no flag for insecure serialisation is needed."""

from __future__ import annotations

from dataclasses import dataclass, field

from vllm.distributed.weight_transfer import base

from .._error import Error

FORMAT = 1  # of InitInfo and UpdateInfo; grows when an older worker would misread them


@dataclass
class InitInfo(base.WeightTransferInitInfo):
    """What the worker needs to find the publisher. JSON alone: no flag for insecure serialisation is needed."""

    control: str  # "dir:/run/policy": the trainer's control folder, as this host sees it
    name: str = "policy"
    socket_directory: str = ""
    tcp_host: str = "127.0.0.1"
    transports: list[str] = field(default_factory=list)  # by preference, only these: "shm", "tcp"; or ["disk"]
    use: str = "auto"  # "map_then_install", "copy"; auto: map the trainer's pages where they can be mapped, else copy
    slabs: int = 1  # of a copying worker: 2 keep the version before, for a rollback, until the next one is staged; 3 longer
    verification: str = "content"
    threads: int = 1
    bytes_per_second: float = 0.0  # of a copying worker at most; 0: no limit
    deadline: float = 120.0  # seconds, for one version to be staged
    reload: str = "layerwise"  # "prepared": beside the model, while it serves; "direct": into the live parameters
    ignore: list[str] = field(default_factory=list)  # patterns of tensors that the model may do nothing with
    optional: list[str] = field(default_factory=list)  # patterns of the model's parameters that may be left out
    format: int = FORMAT


@dataclass
class UpdateInfo(base.WeightTransferUpdateInfo):
    version: str = ""  # the label that must arrive; "": the newest
    stage_only: bool = False  # true: move, verify and check it now, and prepare it, install it with the next update
    background: bool = False  # with stage_only: return at once; the next update for the same version waits for it, and says what went wrong
    rollback: bool = False  # true: install the version that this worker held before, again; nothing is moved
    abandon: bool = False  # true: drop what was staged, and answer with an error, by which vLLM ends its update
    on_update: str = ""  # for the report: what became of the requests in flight,
    kv: str = ""  # and of what was cached under the old weights
    format: int = FORMAT


def check_format(given: int) -> None:
    if given > FORMAT:
        raise Error("unsupported", f"the trainer's wsync speaks format {given} of this backend, this worker {FORMAT}: install the same release on both")
