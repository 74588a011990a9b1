"""What goes wrong on the way to a real vLLM: the old weights serve, or the replica is marked, and a whole version heals it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engines
import pytest
import torch
from engines import Models, attach

import wsync
from wsync import _wsync
from wsync.vllm import push


def changed(weights: dict[str, torch.Tensor], change: str) -> dict[str, torch.Tensor]:
    """A set that does not fit, in one way."""
    layer = "model.layers.2."
    weights = dict(weights)
    if change == "half of a fused q/k/v":
        del weights[layer + "self_attn.k_proj.weight"]
    elif change == "half of a fused gate/up":
        del weights[layer + "mlp.up_proj.weight"]
    elif change == "a layer less":
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(layer)}
    elif change == "another name":
        weights[layer + "mlp.down.weight"] = weights.pop(layer + "mlp.down_proj.weight")
    elif change == "one more":
        weights["model.layers.2.mlp.gate.weight"] = torch.zeros(4, 4, dtype=torch.bfloat16)
    elif change == "another shape":
        weights["model.norm.weight"] = torch.cat([weights["model.norm.weight"]] * 2)
    elif change == "another type":
        weights["lm_head.weight"] = weights["lm_head.weight"].float()
    return weights


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("half of a fused q/k/v", r"layers\.2\.self_attn\.qkv_proj\.weight would get 24576 of its 32768 elements \(by .*q_proj"),
        ("half of a fused gate/up", r"layers\.2\.mlp\.gate_up_proj\.weight would get 32768 of its 65536 elements \(by .*gate_proj"),
        ("a layer less", r"layers\.2\..* would get 0 of its"),
        ("another name", r"mlp\.down"),
        ("one more", r"mlp\.gate"),
        ("another shape", r"norm"),
        ("another type", r"lm_head\.weight is float32 where lm_head\.weight is bfloat16"),
    ],
)
def test_a_set_that_does_not_fit_is_refused(models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session, change: str, named: str) -> None:
    wrong = changed(engines.weights_of(models.b), change)
    label = models.llm.get_weight_version()
    with session.publisher("policy", source=wrong) as publisher:
        attach(client, folder)
        version = publisher.publish_from(wrong, step=1)
        with pytest.raises(wsync.Error, match=named) as caught:
            push(client, version.label)
        assert caught.value.code == "invalid_argument"
        assert "No weight was touched" in str(caught.value)
        assert publisher.holds == 0
    assert engines.checksums(models.llm) == models.sums_a
    assert engines.greedy(models.llm) == models.tokens_a
    assert models.llm.get_weight_version() == label


def test_a_flipped_byte_in_a_file_is_refused(models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session) -> None:
    a, b = engines.weights_of(models.a), engines.weights_of(models.b)
    with session.publisher("policy", source=a, version_directory=str(folder / "versions")) as publisher:
        attach(client, folder, use="copy", transports=["disk"])
        version = publisher.publish_from(b, step=1)
        (path,) = [file for file in (folder / "versions").rglob("*.safetensors")]
        content = bytearray(path.read_bytes())
        content[-1000] ^= 4
        path.write_bytes(content)
        with pytest.raises(wsync.Error) as caught:
            push(client, version.label)
        assert caught.value.code == "corrupt"
        assert engines.checksums(models.llm) == models.sums_a
        push(client, publisher.publish_from(b, step=2).label)
        assert engines.checksums(models.llm) == models.sums_b


def test_a_flipped_byte_on_the_way_is_refused(
    models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(control: str, *, socket_directory: str, tcp_host: str) -> wsync.Session:
        return wsync.Session(_wsync.SessionHandle.open(control, socket_directory, tcp_host, True, "", [2]), control)

    monkeypatch.setattr(wsync.Session, "open", faulty)
    b = engines.weights_of(models.b)
    with session.publisher("policy", source=b) as publisher:
        attach(client, folder, use="copy")
        version = publisher.publish_from(b, step=1)
        with pytest.raises(wsync.Error) as caught:
            push(client, version.label)
        assert caught.value.code == "corrupt"
        assert engines.checksums(models.llm) == models.sums_a
        push(client, version.label)
        assert engines.checksums(models.llm) == models.sums_b
    monkeypatch.undo()


def test_a_failure_after_the_loader_began_marks_the_replica_until_a_whole_version_came(
    models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = engines.weights_of(models.a), engines.weights_of(models.b)
    label = models.llm.get_weight_version()
    model = engines.model_of(models.llm)
    load = type(model).load_weights

    def breaking(self: Any, weights: Any) -> Any:
        def some() -> Iterator[Any]:
            for i, pair in enumerate(weights):
                if i == 20 and self is model:  # not in the rehearsal
                    raise OSError("out of luck")
                yield pair

        return load(self, some())

    with session.publisher("policy", source=a) as publisher:
        attach(client, folder)
        version = publisher.publish_from(b, step=1)
        with monkeypatch.context() as patch:
            patch.setattr(type(model), "load_weights", breaking)
            with pytest.raises(wsync.Error, match="out of luck.*keep it paused, and send a whole version"):
                push(client, version.label)
        sums = engines.checksums(models.llm)
        assert sums != models.sums_a  # a part is new
        assert sums != models.sums_b
        assert not any(one.is_meta for one in model.parameters())
        assert models.llm.get_weight_version() == label
        client.start_weight_update()
        with pytest.raises(wsync.Error, match="holds a part of"):
            client.finish_weight_update("never")
        client.update_weights({"version": version.label})
        client.finish_weight_update(version.label)
        assert engines.checksums(models.llm) == models.sums_b
        assert engines.greedy(models.llm) == models.tokens_b


TRAINER = """
import sys
import engines, pathlib, wsync
control, model = sys.argv[1:]
weights = engines.weights_of(pathlib.Path(model))
session = wsync.Session.open(f"dir:{control}", socket_directory=f"{control}/sockets")
print(session.publisher("policy", source=weights, lease_seconds=1).publish_from(weights, step=1).label, flush=True)
sys.stdin.read()
"""


def test_a_trainer_that_is_killed_leaves_the_old_weights_and_another_takes_over(
    models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session
) -> None:
    command = [sys.executable, "-c", TRAINER, str(folder), str(models.b)]
    with subprocess.Popen(command, cwd=Path(__file__).parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdout is not None
        label = trainer.stdout.readline().strip()
        attach(client, folder, deadline=3)
        trainer.kill()
    with pytest.raises(wsync.Error) as caught:
        push(client, label)
    assert caught.value.code in ("peer_lost", "timed_out", "unavailable")
    assert engines.checksums(models.llm) == models.sums_a
    assert engines.greedy(models.llm) == models.tokens_a
    b = engines.weights_of(models.b)
    with session.publisher("policy", source=b) as publisher:
        push(client, publisher.publish_from(b, step=2).label)  # the engine was not started anew
        assert engines.checksums(models.llm) == models.sums_b
