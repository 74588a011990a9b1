"""vLLM's weight transfer by wsync: the backend "wsync", for its workers and for the trainer.

    LLM(model, weight_transfer_config={"backend": "wsync"})         # or --weight-transfer-config '{"backend": "wsync"}'

The package's entry point registers the backend in each of vLLM's processes. docs/vllm.md has the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._client import HTTPClient, LLMClient
from ._push import PushReport, push, rollback

if TYPE_CHECKING:
    from ._info import InitInfo, UpdateInfo
    from ._salt import SaltByVersion
    from ._trainer import TrainerEngine, TrainerInit
    from ._worker import WorkerEngine

__all__ = [
    "HTTPClient",
    "InitInfo",
    "LLMClient",
    "PushReport",
    "SaltByVersion",
    "TrainerEngine",
    "TrainerInit",
    "UpdateInfo",
    "WorkerEngine",
    "push",
    "register",
    "rollback",
]

BACKEND = "wsync"
_HOMES = {
    "InitInfo": "_info",
    "UpdateInfo": "_info",
    "SaltByVersion": "_salt",
    "WorkerEngine": "_worker",
    "TrainerEngine": "_trainer",
    "TrainerInit": "_trainer",
}


def register() -> None:
    """The entry point of vllm.general_plugins: names the backend to vLLM. May be called again."""
    from vllm.distributed.weight_transfer import factory

    workers = factory.WeightTransferEngineFactory
    if BACKEND not in workers._registry:
        workers.register_engine(BACKEND, "wsync.vllm._worker", "WorkerEngine")
    trainers = getattr(factory, "WeightTransferTrainerFactory", None)  # from 0.26 on
    if trainers is not None and BACKEND not in trainers._registry:
        trainers.register_engine(BACKEND, "wsync.vllm._trainer", "TrainerEngine")


def __getattr__(name: str) -> Any:
    """Those that need vllm are imported when they are asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
