"""A real vLLM whose next weights are made beside the model while it serves, in the worker's background, and put in at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import engines
import pytest
import torch
from engines import Models, attach

import wsync
from wsync.vllm import LLMClient, _prepared, _worker, push, rollback
from wsync.vllm._sign import signs_of


def act_while_preparing(models: Models, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """`act` is called before a twin with memory gets its fourth tensor: in a preparation, and in no rehearsal."""
    kind = type(engines.model_of(models.llm))
    load = kind.load_weights

    def loading(self: Any, weights: Any) -> Any:
        def some() -> Iterator[Any]:
            for i, pair in enumerate(weights):
                if i == 3 and not next(self.parameters()).is_meta:
                    act()
                yield pair

        return load(self, some())

    monkeypatch.setattr(kind, "load_weights", loading)


def test_the_old_weights_serve_until_it_is_put_in(models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session) -> None:
    b = engines.weights_of(models.b)
    with session.publisher("policy", source=b) as publisher:
        attach(client, folder, reload="prepared")
        label = publisher.publish_from(b, step=1).label
        client.start_weight_update()
        client.update_weights({"version": label, "stage_only": True})
        assert engines.checksums(models.llm) == models.sums_a
        assert engines.greedy(models.llm) == models.tokens_a
        client.update_weights({"version": label})
        client.finish_weight_update(label)
        assert engines.checksums(models.llm) == models.sums_b
        assert engines.worker_engine(models.llm).prepared is None  # nor is the old state kept
        assert engines.holds_of(publisher, 0) == 0


@pytest.mark.parametrize("reload", ["layerwise", "prepared"])
def test_in_the_background(
    models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session, monkeypatch: pytest.MonkeyPatch, reload: str
) -> None:
    """The call returns at once; the engine generates; the next call for the version waits."""
    b = engines.weights_of(models.b)
    going_on, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        going_on.set()
        assert go_on.wait(60)

    rehearse = _worker.rehearse

    def rehearsing(*given: Any, **how: Any) -> Any:
        wait()
        return rehearse(*given, **how)

    with session.publisher("policy", source=b) as publisher, monkeypatch.context() as patch:
        attach(client, folder, reload=reload)
        label = publisher.publish_from(b, step=1).label
        if reload == "prepared":
            act_while_preparing(models, patch, wait)
        else:
            patch.setattr(_worker, "rehearse", rehearsing)
        client.start_weight_update()
        client.update_weights({"version": label, "stage_only": True, "background": True})
        assert going_on.wait(60)
        assert len(signs_of(f"dir:{folder}", label)) == 1
        assert engines.greedy(models.llm) == models.tokens_a
        assert engines.checksums(models.llm) == models.sums_a
        go_on.set()
        client.update_weights({"version": label})
        assert signs_of(f"dir:{folder}", label) == []
        client.finish_weight_update(label)
        assert engines.checksums(models.llm) == models.sums_b
        assert engines.greedy(models.llm) == models.tokens_b


def test_what_fails_in_the_background_is_said_by_the_next_call(
    models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError("out of luck")

    b = engines.weights_of(models.b)
    with session.publisher("policy", source=b) as publisher:
        attach(client, folder, reload="prepared")
        label = publisher.publish_from(b, step=1).label
        with monkeypatch.context() as patch:
            act_while_preparing(models, patch, fail)
            client.start_weight_update()
            client.update_weights({"version": label, "stage_only": True, "background": True})
            with pytest.raises(wsync.Error, match="out of luck; no weight was touched"):
                client.update_weights({"version": label, "stage_only": True})
        assert engines.checksums(models.llm) == models.sums_a
        assert engines.greedy(models.llm) == models.tokens_a
        assert engines.holds_of(publisher, 0) == 0
        push(client, label)
        assert engines.checksums(models.llm) == models.sums_b


@pytest.mark.parametrize("how", ["abandon", "another version", "attach"])
def test_what_ends_it(models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session, how: str) -> None:
    """While it waits for a version that does not come."""
    b = engines.weights_of(models.b)
    with session.publisher("policy", source=b) as publisher:
        attach(client, folder, reload="prepared", deadline=3600)
        client.start_weight_update()
        client.update_weights({"version": "policy@9", "stage_only": True, "background": True})
        assert len(signs_of(f"dir:{folder}", "policy@9")) == 1
        if how == "abandon":
            with pytest.raises(wsync.Error, match="the update was ended: no weight was touched"):
                client.update_weights({"abandon": True})
            label = publisher.publish_from(b, step=1).label
            push(client, label)
        elif how == "another version":
            label = publisher.publish_from(b, step=1).label
            client.update_weights({"version": label})
            client.finish_weight_update(label)
        else:
            attach(client, folder, reload="prepared")
            label = publisher.publish_from(b, step=1).label
            client.update_weights({"version": label})
            client.finish_weight_update(label)
        assert signs_of(f"dir:{folder}", "policy@9") == []
        assert models.llm.get_weight_version() == label
    assert engines.checksums(models.llm) == models.sums_b


def test_a_preparation_is_ended_between_two_tensors(
    models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = engines.weights_of(models.b)
    worker = engines.worker_engine(models.llm)
    going_on = threading.Event()

    def wait_for_the_end() -> None:
        going_on.set()
        while not worker._ending:
            pass

    with session.publisher("policy", source=b) as publisher:
        attach(client, folder, reload="prepared")
        label = publisher.publish_from(b, step=1).label
        with monkeypatch.context() as patch:
            act_while_preparing(models, patch, wait_for_the_end)
            client.start_weight_update()
            client.update_weights({"version": label, "stage_only": True, "background": True})
            assert going_on.wait(60)
            with pytest.raises(wsync.Error, match="no weight was touched"):
                client.update_weights({"abandon": True})
        assert engines.holds_of(publisher, 0) == 0
        push(client, label)
        assert engines.checksums(models.llm) == models.sums_b


def test_what_fails_when_it_is_put_in_brings_the_old_weights_back(
    models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm.model_executor.layers.attention import Attention

    def fail(self: Any, kind: Any) -> None:
        raise OSError("out of luck")

    b = engines.weights_of(models.b)
    with session.publisher("policy", source=b) as publisher:
        attach(client, folder, reload="prepared")
        label = publisher.publish_from(b, step=1).label
        with monkeypatch.context() as patch:
            patch.setattr(Attention, "process_weights_after_loading", fail)
            with pytest.raises(wsync.Error, match="out of luck.*keep it paused, and send a whole version"):
                push(client, label)
        assert engines.checksums(models.llm) == models.sums_a  # of this rank; another's may have the new ones
        push(client, label)
    assert engines.checksums(models.llm) == models.sums_b
    assert engines.greedy(models.llm) == models.tokens_b


def test_rollback(models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session) -> None:
    a, b = engines.weights_of(models.a), engines.weights_of(models.b)
    with session.publisher("policy", source=a) as publisher:
        attach(client, folder, use="copy", slabs=2, reload="prepared")
        first = push(client, publisher.publish_from(b, step=1).label).label
        push(client, publisher.publish_from(a, step=2).label)
        assert engines.checksums(models.llm) == models.sums_a
        rollback(client, first)
    assert engines.checksums(models.llm) == models.sums_b
    assert engines.greedy(models.llm) == models.tokens_b


def test_a_layer_that_is_not_known_is_refused(
    models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = engines.model_of(models.llm).get_submodule("model.layers.2.mlp.down_proj")

    class Sparse(type(layer.quant_method)):  # type: ignore[misc]
        pass

    b = engines.weights_of(models.b)
    with session.publisher("policy", source=b) as publisher:
        attach(client, folder, reload="prepared")
        label = publisher.publish_from(b, step=1).label
        with monkeypatch.context() as patch:
            patch.setattr(layer, "quant_method", Sparse())
            with pytest.raises(wsync.Error, match=r"model\.layers\.2\.mlp\.down_proj is processed by Sparse; use reload=.layerwise") as caught:
                push(client, label)
        assert caught.value.code == "unsupported"
    assert engines.checksums(models.llm) == models.sums_a


def test_a_packed_weight_that_is_left_out_is_refused(models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session) -> None:
    b = engines.weights_of(models.b)
    del b["model.layers.2.mlp.down_proj.weight"]
    name = r"model\.layers\.2\.mlp\.down_proj\.weight"
    with session.publisher("policy", source=b) as publisher:
        attach(client, folder, reload="prepared", optional=["*.down_proj.weight"])
        label = publisher.publish_from(b, step=1).label
        if engines.packs(models.llm):
            with pytest.raises(wsync.Error, match=f"{name} is left out of this version, but is kept in another form"):
                push(client, label)
        else:
            push(client, label)
            kept = [one for one, sum in engines.checksums(models.llm).items() if sum == models.sums_a[one] and sum != models.sums_b[one]]
            assert [one.split(":")[-1] for one in kept] == ["model.layers.2.mlp.down_proj.weight"]


def test_by_copying(models: Models, folder: Path, session: wsync.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on devices, whose graphs know addresses, and where these layers are processed by doing nothing."""
    from vllm.model_executor.layers.linear import UnquantizedLinearMethod
    from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod

    engines.never_pack(monkeypatch)
    b = engines.weights_of(models.b)
    fresh = engines.open_llm(models.b)
    tokens, sums = engines.greedy(fresh), engines.checksums(fresh)
    llm = engines.open_llm(models.a)
    model = engines.model_of(llm)
    addresses = {name: one.data_ptr() for name, one in model.named_parameters()}
    for kind in (UnquantizedLinearMethod, UnquantizedEmbeddingMethod):
        monkeypatch.setattr(kind, "process_weights_after_loading", lambda self, layer: None)
    monkeypatch.setattr(_worker, "prepare", lambda *given, **how: _prepared.prepare(*given, **{**how, "copying": True}))
    with session.publisher("policy", source=b) as publisher:
        client = engines.JsonClient(LLMClient(llm))
        attach(client, folder, reload="prepared")
        push(client, publisher.publish_from(b, step=1).label)
    assert {name: one.data_ptr() for name, one in model.named_parameters()} == addresses
    assert engines.checksums(llm) == sums
    assert engines.greedy(llm) == tokens


def test_a_tensor_that_another_looks_into_keeps_its_place(models: Models, folder: Path, session: wsync.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    engines.never_pack(monkeypatch)
    llm = engines.open_llm(models.a)
    norm = engines.model_of(llm).get_submodule("model.norm")
    norm.register_buffer("first", norm.weight.data[:8], persistent=False)
    b = engines.weights_of(models.b)
    b["model.norm.weight"] = torch.full_like(b["model.norm.weight"], 2)
    with session.publisher("policy", source=b) as publisher:
        client = engines.JsonClient(LLMClient(llm))
        attach(client, folder, reload="prepared")
        push(client, publisher.publish_from(b, step=1).label)
    assert norm.first.tolist() == [2] * 8
    assert norm.weight.data_ptr() == norm.first.data_ptr()
