"""A real vLLM goes back to the version before, without the trainer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engines
import pytest
from engines import Models, attach

import wsync
from wsync.vllm import push, rollback


def test_back_to_the_version_before_and_forward_again(models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session) -> None:
    a, b = engines.weights_of(models.a), engines.weights_of(models.b)
    with session.publisher("policy", source=a) as publisher:
        attach(client, folder, use="copy", slabs=2)
        first = push(client, publisher.publish_from(b, step=1).label).label
        sums = engines.checksums(models.llm)
        second = push(client, publisher.publish_from(a, step=2).label).label
        assert engines.checksums(models.llm) == models.sums_a
        with pytest.raises(wsync.Error, match=f"policy@9 is asked for, but the version before is {first}".replace("+", r"\+")) as caught:
            rollback(client, "policy@9")
        assert caught.value.code == "not_found"
        assert engines.checksums(models.llm) == models.sums_a

        report = rollback(client, first)
        assert (report.rollback, report.label) == (True, first)
        assert engines.checksums(models.llm) == sums == models.sums_b
        assert engines.greedy(models.llm) == models.tokens_b
        assert models.llm.get_weight_version() == first

        rollback(client, second)  # and forward
        assert engines.checksums(models.llm) == models.sums_a
        assert models.llm.get_weight_version() == second
        third = push(client, publisher.publish_from(b, step=3).label).label  # and on
        assert engines.checksums(models.llm) == models.sums_b
        assert models.llm.get_weight_version() == third


def test_what_it_costs(models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session) -> None:
    """One more checkpoint of host memory for each worker: its receiver has two slabs instead of one."""
    b = engines.weights_of(models.b)
    payload = sum(tensor.nbytes for tensor in b.values())
    used: dict[int, int] = {}
    for slabs in (1, 2):
        with session.publisher("policy", source=b) as publisher:
            attach(client, folder, use="copy", slabs=slabs)
            for step in (1, 2, 3):
                push(client, publisher.publish_from(b, step=step).label)
            worker = engines.worker_engine(models.llm)
            used[slabs] = sum(worker.session.peak_extra_bytes().values())
    assert payload <= used[2] - used[1] < payload * 1.1 + (4 << 20), used


def test_a_half_installed_version_is_undone(
    models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failure of the loader the last whole version is in the worker's memory still: no trainer is needed to heal it."""
    a, b = engines.weights_of(models.a), engines.weights_of(models.b)
    model = engines.model_of(models.llm)
    load = type(model).load_weights

    def breaking(self: Any, weights: Any) -> Any:
        def some() -> Iterator[Any]:
            for i, pair in enumerate(weights):
                if i == 20 and self is model:
                    raise OSError("out of luck")
                yield pair

        return load(self, some())

    with session.publisher("policy", source=a) as publisher:
        attach(client, folder, use="copy", slabs=2)
        first = push(client, publisher.publish_from(a, step=1).label).label
        with monkeypatch.context() as patch:
            patch.setattr(type(model), "load_weights", breaking)
            with pytest.raises(wsync.Error, match="keep it paused, and send a whole version"):
                push(client, publisher.publish_from(b, step=2).label)
    assert engines.checksums(models.llm) != models.sums_a
    rollback(client, first)
    assert engines.checksums(models.llm) == models.sums_a
    assert engines.greedy(models.llm) == models.tokens_a


def test_a_worker_that_holds_nothing_says_so(models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session) -> None:
    b = engines.weights_of(models.b)
    with session.publisher("policy", source=b) as publisher:
        attach(client, folder)  # it maps the trainer's pages, and has none of its own
        label = push(client, publisher.publish_from(b, step=1).label).label
        with pytest.raises(wsync.Error, match='use="copy" and two slabs') as caught:
            rollback(client, label)
        assert caught.value.code == "unsupported"
    assert engines.checksums(models.llm) == models.sums_b
