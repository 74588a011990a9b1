"""A real vLLM server takes versions."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import engines
import pytest
import torch

from wsync.vllm import HTTPClient


class Served(NamedTuple):
    a: Path
    b: Path
    server: engines.Server

    def checker(self, action: str, baseline: dict[str, str] | None = None) -> Any:
        return HTTPClient(self.server.url).call("weight_checker", {"action": action, "baseline": baseline})[0]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    a, b = (engines.make_model(folder / str(seed), seed) for seed in (1, 2))
    server = engines.Server(a, folder / "server.log")
    yield Served(a, b, server)
    server.close()
    assert server.process.returncode == 0, server.log.read_text()[-2000:]


def test_what_trl_calls_each_step(served: Served, folder: Path) -> None:
    """In the order of TRL's AsyncGRPOTrainer, with FP32 masters from a generator that gives each tensor once. Not TRL itself."""
    from wsync.trl import WeightTransfer

    transfer = WeightTransfer(f"dir:{folder}", HTTPClient(served.server.url), socket_directory=str(folder / "sockets"))
    transfer.init_weight_transfer()
    for path in (served.b, served.a):
        masters = ((name, tensor.float()) for name, tensor in engines.weights_of(path).items())
        transfer.pause()
        transfer.send_weights(masters)
        transfer.resume()
        info = urllib.request.urlopen(f"{served.server.url}/weight_info", timeout=10).read()
        assert json.loads(info) == {"weight_version": transfer.label}
        have = served.checker("checksum")["checksums"]
        fresh = engines.weights_of(path)["model.layers.3.self_attn.o_proj.weight"].contiguous().view(torch.uint8).numpy().tobytes()
        assert have["dp0:pp0:pcp0:tp0:model.layers.3.self_attn.o_proj.weight"] == hashlib.sha256(fresh).hexdigest()
    transfer.destroy()
