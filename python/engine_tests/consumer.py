"""checkpoint-engine's own consumer, for a process of its own: loads into a dict, in the place of a model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import checkpoint_engine.worker as worker
import torch
import zmq

import wsync.checkpoint_engine  # noqa: F401  what the producer's handle calls


def consume(address: str, home: Path, fail_at: str) -> None:
    """Until the producer says that it is done. What was loaded is in home/loaded.pt then, else home/error has what went wrong."""
    home.mkdir(exist_ok=True)
    # The consumer asks for an accelerator; here its three calls do nothing, as on a device that is always done.
    calls = {name: lambda: None for name in ("synchronize", "ipc_collect", "empty_cache")}
    worker.DeviceManager = lambda: SimpleNamespace(device_module=SimpleNamespace(**calls))
    loaded: dict[str, torch.Tensor] = {}
    hooks: list[int] = []

    def load(weights: list[tuple[str, torch.Tensor]]) -> None:
        for name, tensor in weights:
            if name == fail_at:
                raise ValueError(f"{name} has no place in this model")
            loaded[name] = tensor.clone()

    try:
        worker.update_weights_from_ipc(zmq.Context(), address, None, run=load, post_hook=lambda: hooks.append(len(loaded)))
        assert hooks == [len(loaded)], "the weights are processed once, after the last"
        torch.save(loaded, home / "loaded.pt")
    except BaseException as why:
        (home / "error").write_text(f"{type(why).__name__}: {why}")
        raise SystemExit(1) from None
