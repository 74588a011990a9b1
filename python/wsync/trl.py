"""TRL's AsyncGRPOTrainer(weight_transfer=WeightTransfer("dir:/run/policy", client)): its weights go to vLLM by wsync."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ._session import Session
from .torch import StreamPublisher
from .vllm import push
from .vllm._client import Client


class WeightTransfer:
    """TRL's WeightTransferProtocol, for its main process. `client`: wsync.vllm.HTTPClient(url), or any of vLLM's clients.

    The trainer yields FP32 masters; `dtype` is what vLLM serves, and the masters are rounded to it. Replicas are paused while weights
    are installed, not while they are gathered and published, so that pause() and resume() have nothing to do.
    """

    def __init__(
        self, control: str, client: Client, *, name: str = "policy", dtype: torch.dtype | None = torch.bfloat16, worker: dict[str, Any] | None = None,
        socket_directory: str = "", tcp_host: str = "127.0.0.1", **options: Any,
    ) -> None:  # fmt: skip
        self.client = client
        self._worker = {"control": control, "name": name, "socket_directory": socket_directory, **(worker or {})}
        self._session = Session.open(control, socket_directory=socket_directory, tcp_host=tcp_host)
        self._publisher = StreamPublisher(self._session, name, dtype=dtype, **options)
        self.step = 0
        self.label = ""  # of the version that the engines have

    def init_weight_transfer(self) -> None:
        self.client.init_weight_transfer_engine(self._worker)

    def pause(self) -> None:
        """push() pauses."""

    def send_weights(self, iterator: Iterable[tuple[str, torch.Tensor]]) -> None:
        label = self._publisher.publish(iterator, step=self.step + 1).label
        push(self.client, label)
        self.step, self.label = self.step + 1, label

    def resume(self) -> None:
        """push() resumes, and only when the weights are whole."""

    def destroy(self) -> None:
        self._publisher.close()
        self._session.close()
