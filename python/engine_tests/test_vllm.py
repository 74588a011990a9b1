"""A real vLLM in this process takes versions from a real publisher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import engines
import pytest
import torch
from engines import Models, attach

import wsync
from wsync.vllm import LLMClient, push, rollback

WAYS: dict[str, dict[str, Any]] = {
    "map": {}, "copy": {"use": "copy"}, "tcp": {"use": "copy", "transports": ["tcp"]},
    "prepared": {"reload": "prepared"}, "prepared from a copy": {"reload": "prepared", "use": "copy"},
}  # fmt: skip


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS.keys())
def test_a_to_b_and_back(models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session, options: dict[str, Any]) -> None:
    a, b = engines.weights_of(models.a), engines.weights_of(models.b)
    with session.publisher("policy", source=a) as publisher:
        attach(client, folder, **options)
        version = publisher.publish_from(b, step=1)
        push(client, version.label)
        assert models.llm.get_weight_version() == version.label
        assert engines.checksums(models.llm) == models.sums_b
        assert engines.greedy(models.llm) == models.tokens_b  # with the prompts' blocks of A cached before
        assert engines.holds_of(publisher, 0) == 0
        push(client, publisher.publish_from(a, step=2).label)
        assert engines.checksums(models.llm) == models.sums_a
        assert engines.greedy(models.llm) == models.tokens_a


@pytest.mark.parametrize("reload", ["layerwise", "prepared"])
def test_tied_weights(folder: Path, session: wsync.Session, reload: str) -> None:
    """lm_head computes with the embedding's weights, on some CPUs with a packed copy of them, and no tensor of the checkpoint is its own."""
    a, b = (engines.make_model(folder / f"tied{seed}", seed, tie_word_embeddings=True) for seed in (1, 2))
    llm = engines.open_llm(b)
    tokens, sums = engines.greedy(llm), engines.checksums(llm)
    llm = engines.open_llm(a)
    weights = engines.weights_of(b)
    assert "lm_head.weight" not in weights
    with session.publisher("policy", source=weights) as publisher:
        client = engines.JsonClient(LLMClient(llm))
        attach(client, folder, reload=reload)
        push(client, publisher.publish_from(weights, step=1).label)
    assert engines.checksums(llm) == sums
    assert engines.greedy(llm) == tokens


def test_direct(models: Models, folder: Path, session: wsync.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into the live parameters: where vLLM computes with them, and refused where it computes with packed copies."""
    a, b = engines.weights_of(models.a), engines.weights_of(models.b)
    with session.publisher("policy", source=a) as publisher:
        version = publisher.publish_from(b, step=1)
        if engines.packs(models.llm):
            client = engines.JsonClient(LLMClient(models.llm))
            attach(client, folder, reload="direct")
            with pytest.raises(wsync.Error, match="in another form than it was loaded in: use reload=.layerwise") as caught:
                push(client, version.label)
            assert caught.value.code == "unsupported"
            assert engines.checksums(models.llm) == models.sums_a
            engines.detach(models.llm)
        engines.never_pack(monkeypatch)
        fresh = engines.open_llm(models.b)
        tokens, sums = engines.greedy(fresh), engines.checksums(fresh)
        llm = engines.open_llm(models.a)
        before = engines.checksums(llm)
        assert not engines.packs(llm)
        client = engines.JsonClient(LLMClient(llm))
        attach(client, folder, reload="direct", use="copy", slabs=2)
        push(client, version.label)
        assert engines.checksums(llm) == sums
        assert engines.greedy(llm) == tokens
        push(client, publisher.publish_from(a, step=2).label)
        assert engines.checksums(llm) == before
        rollback(client, version.label)
        assert engines.checksums(llm) == sums


def test_the_trainers_side_of_vllms_own_api(models: Models, client: engines.JsonClient, folder: Path) -> None:
    import transformers
    from vllm.distributed.weight_transfer.base import ModuleSource, VLLMWeightSyncClient
    from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory

    from wsync.vllm import TrainerInit

    assert isinstance(client, VLLMWeightSyncClient)
    module = transformers.LlamaForCausalLM.from_pretrained(models.b, dtype=torch.bfloat16)
    info = TrainerInit(f"dir:{folder}", socket_directory=str(folder / "sockets"), rank=0)
    trainer = WeightTransferTrainerFactory.trainer_init(info, client=client, source=ModuleSource(module))
    trainer.send_weights()
    assert engines.checksums(models.llm) == models.sums_b
    assert models.llm.get_weight_version() == trainer.version.label
    with torch.no_grad():
        module.model.norm.weight += 1
    trainer.send_weights(step=10)
    differ = [name for name, one in engines.checksums(models.llm).items() if one != models.sums_b[name]]
    assert [name.split(":")[-1] for name in differ] == ["model.norm.weight"]
    assert trainer.version.step == 10
    trainer.shutdown()


def test_what_is_asked_in_the_wrong_order_or_badly_is_refused(models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session) -> None:
    with pytest.raises(wsync.Error, match="init_weight_transfer_engine first"):
        client.start_weight_update()
    with pytest.raises(ValueError, match="reload_mode"):
        attach(client, folder, reload_mode="layerwise")
    with pytest.raises(wsync.Error, match="format"):
        attach(client, folder, format=99)
    with pytest.raises(wsync.Error, match="sideways"):
        attach(client, folder, use="sideways")
    with pytest.raises(wsync.Error, match="backwards"):
        attach(client, folder, reload="backwards")
    a = engines.weights_of(models.a)
    with session.publisher("policy", source=a) as publisher:
        attach(client, folder, deadline=0.2)
        client.start_weight_update()
        with pytest.raises(wsync.Error, match="no version was installed"):
            client.finish_weight_update("x")
        with pytest.raises(wsync.Error) as caught:
            client.update_weights({})  # nothing was published
        assert caught.value.code == "timed_out"
        old = publisher.publish_from(a, step=1)
        publisher.publish_from(a, step=2)
        with pytest.raises(wsync.Error, match="is asked for, but the newest version is"):
            push(client, old.label)
