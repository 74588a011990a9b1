"""A real vLLM with two tensor parallel workers takes versions. In a process of its own: vLLM reads its environment once."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "0|1"  # else vLLM wants a NUMA node for each rank

import engines
import psutil
import pytest
from engines import attach

import wsync
from wsync.vllm import LLMClient, push, rollback


def open_two(folder: Path) -> Any:
    return engines.open_llm(folder, tensor_parallel_size=2, distributed_executor_backend="mp")


def workers() -> list[psutil.Process]:
    return [one for one in psutil.Process().children(recursive=True) if "VLLM::Worker" in " ".join(one.cmdline())]


def test_two_ranks(folder: Path, session: wsync.Session) -> None:
    """A to B and back; per-rank lists; rollback; one rank's failure; a killed worker, and what is started in its place, on B: the fresh engine."""
    path_a, path_b = (engines.make_model(folder / f"model{seed}", seed) for seed in (1, 2))
    a, b = engines.weights_of(path_a), engines.weights_of(path_b)
    llm = open_two(path_a)
    client = engines.JsonClient(LLMClient(llm))
    sums_a, tokens_a = engines.checksums(llm), engines.greedy(llm)
    assert {name.split(":")[3] for name in sums_a if name.startswith("dp")} == {"tp0", "tp1"}
    with session.publisher("policy", source=a) as publisher:
        attach(client, folder, use="copy", slabs=2)
        first = push(client, publisher.publish_from(b, step=1).label).label
        sums_b, tokens_b = engines.checksums(llm), engines.greedy(llm)
        assert llm.get_weight_version() == first

        second = publisher.publish_from(a, step=2)
        client.start_weight_update()
        client.update_weights([{"version": second.label}, {"version": second.label}])  # one for each rank
        client.finish_weight_update(second.label)
        assert engines.checksums(llm) == sums_a
        assert engines.greedy(llm) == tokens_a
        rollback(client, first)
        assert engines.checksums(llm) == sums_b

        push(client, publisher.publish_from(a, step=3).label)
        assert engines.checksums(llm) == sums_a

        attach(client, folder, reload="prepared")  # mapped: the workers hold the trainer's slab
        for step, weights, sums, tokens in ((4, b, sums_b, tokens_b), (5, a, sums_a, tokens_a)):
            label = publisher.publish_from(weights, step=step).label
            client.start_weight_update()
            client.update_weights({"version": label, "stage_only": True, "background": True})
            client.update_weights({"version": label})
            client.finish_weight_update(label)
            assert engines.checksums(llm) == sums
            assert engines.greedy(llm) == tokens

        held = publisher.publish_from(b, step=6)
        client.start_weight_update()
        client.update_weights({"version": held.label, "stage_only": True})
        assert engines.holds_of(publisher, 2) == 2
        os.kill(workers()[1].pid, signal.SIGKILL)
        with pytest.raises(Exception):  # noqa: B017 (vLLM's own: the engine is dead)
            client.update_weights({"version": held.label})
        del llm, client
        for step in (7, 8, 9):  # the trainer does not wait for the dead
            newest = publisher.publish_from(a, step=step, deadline=20)

        llm = open_two(path_b)
        assert engines.checksums(llm) == sums_b
        assert engines.greedy(llm) == tokens_b
        client = engines.JsonClient(LLMClient(llm))
        attach(client, folder)
        push(client, newest.label)
        assert engines.checksums(llm) == sums_a
        assert engines.greedy(llm) == tokens_a

        # One rank's failure is all ranks'. The last thing that this engine is asked for: when a rank fails, vLLM reads no answer of those
        # behind it, and takes it for the answer to its next call (docs/vllm.md).
        last = publisher.publish_from(b, step=10)
        client.start_weight_update()
        with pytest.raises(Exception, match="another rank of this replica failed|is asked for, but"):
            client.update_weights([{"version": last.label}, {"version": "policy@9"}])
        assert engines.greedy(llm) == tokens_a
