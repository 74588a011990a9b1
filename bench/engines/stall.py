#!/usr/bin/env python3
"""How long an engine stands still for new weights: a real vLLM server of SmolLM2-135M's shape, wsync beside vLLM's own reload from disk and verl's way through shared memory.

    make bench-stall                                    table on the screen, JSON in wsync-stall.json
    stall.py --rounds 3 --output FILE

Each round gives every way the same new weights, in another order each time, while two clients read their tokens as they come (paused with
"keep", prefix cache cleared). `stall`: from the call to pause until the call to resume returned. `longest gap`: the longest that a client
waited for its next token, from the trainer's having the weights (before it publishes or saves them) until the engine had them; it shows what
keeps the engine from its work outside the pause as well. `first token`: from the trainer's having the weights to the first token that a new
request gets from them.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "python/engine_tests")]

import engines
import provenance
import requests_in_flight as flight
import torch
import verl_shm

import wsync
from wsync.vllm import HTTPClient, push

SCHEMA = "wsync.stall/1"
SHAPE = {
    "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64,
    "vocab_size": 49152, "max_position_embeddings": 2048, "initializer_range": 0.02, "tie_word_embeddings": True,
}  # fmt: skip
STREAMS, TOKENS = 2, 440
WHAT = ("stall_seconds", "longest_gap_seconds", "first_token_seconds")
WSYNC = {  # by way: options of the worker
    "wsync.prepared": {"use": "map_then_install", "reload": "prepared"},
    "wsync.prepared.copy": {"use": "copy", "reload": "prepared"},
    "wsync.map": {"use": "map_then_install"},
    "wsync.copy": {"use": "copy"},
}


class Trainer:
    """Has two sets of weights, and gives them in turn, each way that there is."""

    def __init__(self, folder: Path, server: engines.Server, models: list[Path]) -> None:
        self.folder = folder
        self.client = HTTPClient(server.url, on_update="keep", kv="clear")
        self.weights = [engines.weights_of(model) for model in models]
        self.step = 0
        self.session = wsync.Session.open(f"dir:{folder}/control", socket_directory=str(folder / "sockets"))
        self.publisher = self.session.publisher("policy", source=self.weights[0])
        self.attached = ""

    def next(self) -> dict[str, torch.Tensor]:
        self.step += 1
        return self.weights[self.step % 2]

    def wsync(self, weights: dict[str, torch.Tensor]) -> float:
        """The engine's stall in seconds."""
        version = self.publisher.publish_from(weights, step=self.step)
        return push(self.client, version.label).engine_stalled_seconds

    def attach(self, way: str) -> None:
        if way in WSYNC and self.attached != way:
            own = {"control": f"dir:{self.folder}/control", "socket_directory": str(self.folder / "sockets")}
            self.client.init_weight_transfer_engine({**own, **WSYNC[way]})
            self.attached = way
            self.wsync(self.next())  # what is done once, as the rehearsal, is not what is measured

    def reload_from_disk(self, checkpoint: Path, weights: dict[str, torch.Tensor]) -> float:
        """As vLLM can do it by itself: the trainer saves safetensors, the worker's reload_weights reads them, from the page cache."""
        from safetensors.torch import save_file

        save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
        began = time.monotonic()
        self.client.pause()
        self.client.call("collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(checkpoint)}})
        self.client.resume()
        return time.monotonic() - began

    def verl(self, weights: dict[str, torch.Tensor]) -> float:
        """As verl gives them to an engine on its own host: a bucket in shared memory, loaded into the live model."""
        began = time.monotonic()
        self.client.pause()
        verl_shm.send(weights, lambda: self.client.call("collective_rpc", {"method": "update_weights_from_ipc", "kwargs": {"use_shm": True}}))
        self.client.resume()
        return time.monotonic() - began

    def verl_can(self) -> bool:
        return all(one["results"] == ["False"] for one in self.client.call("collective_rpc", {"method": "packs"}))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="wsync-") as name:
        folder = Path(name)
        models = [engines.make_model(folder / str(seed), seed, **SHAPE) for seed in (1, 2)]
        nbytes = sum(tensor.nbytes for tensor in engines.weights_of(models[0]).values())
        environment = verl_shm.say_version(folder / "verl")
        server = engines.Server(models[0], folder / "server.log", "--worker-extension-cls", verl_shm.EXTENSION, environment=environment)
        try:
            trainer = Trainer(folder, server, models)
            ways: dict[str, Callable[[dict[str, torch.Tensor]], float]] = {
                **dict.fromkeys(WSYNC, trainer.wsync),
                "vllm.reload_weights": lambda weights: trainer.reload_from_disk(models[1], weights),
            }
            if trainer.verl_can():
                ways["verl.shm"] = trainer.verl
            else:
                print("verl.shm can't run here: vLLM computes with packed copies of weights on this processor", file=sys.stderr)
            measures: dict[str, dict[str, list[float]]] = {way: {what: [] for what in WHAT} for way in ways}
            undisturbed: list[float] = []
            order = random.Random(17)
            for number in range(arguments.rounds + 1):
                print(f"round {number} of {arguments.rounds}" if number else "warming up", file=sys.stderr, flush=True)
                for way in order.sample(list(ways), len(ways)):
                    trainer.attach(way)
                    weights = trainer.next()
                    with flight.Streams(server.url, count=STREAMS, tokens=TOKENS) as streams:
                        streams.wait_for_tokens(5)
                        if way == "vllm.reload_weights" and number:
                            began = time.monotonic()
                            streams.wait_for_tokens(25)
                            undisturbed.append(streams.longest_gap(began, time.monotonic()))
                        began = time.monotonic()
                        stalled = ways[way](weights)
                        ended = time.monotonic()
                        flight.generate(server.url, [5, 6, 7], 1)
                        first = time.monotonic() - began
                        gap = streams.longest_gap(began, ended)
                    if number:
                        for what, seconds in zip(WHAT, (stalled, gap, first), strict=True):
                            measures[way][what].append(seconds)
        finally:
            server.close()
    import vllm

    return {
        "schema": SCHEMA,
        "date": provenance.now(),
        "commit": provenance.commit(),
        "machine": provenance.machine(),
        "packages": {"vllm": vllm.__version__, "torch": torch.__version__},
        "model": {"name": "the shape of SmolLM2-135M, random weights", "bytes": nbytes},
        "rounds": arguments.rounds,
        "measures": measures,
        "undisturbed_gap_seconds": undisturbed,
        "ratios": {way: ratio(measures, way, "stall_seconds") for way in measures},
        "gap_ratios": {way: ratio(measures, way, "longest_gap_seconds") for way in measures},
    }


def ratio(measures: dict[str, dict[str, list[float]]], way: str, what: str) -> float:
    """The median, over the rounds, of what reload_weights needed by what this way did."""
    return statistics.median(a / b for a, b in zip(measures["vllm.reload_weights"][what], measures[way][what], strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path("wsync-stall.json"))
    arguments = parser.parse_args()
    document = measure(arguments)
    arguments.output.write_text(json.dumps(document, indent=1) + "\n")
    print(f"{'way':22} {'stall, median s':>16} {'longest gap, s':>15} {'first token, s':>15} {'less stall than reload_weights':>32} {'shorter gap':>12}")
    for way, measured in document["measures"].items():
        stall, gap, first = (statistics.median(measured[what]) for what in WHAT)
        print(f"{way:22} {stall:16.3f} {gap:15.3f} {first:15.3f} {document['ratios'][way]:31.1f}x {document['gap_ratios'][way]:11.1f}x")
    print(f"{'no update':22} {'':16} {statistics.median(document['undisturbed_gap_seconds']):15.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
