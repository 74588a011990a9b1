"""What goes wrong on the way to a real vLLM: the old weights serve, or the replica is marked, and a whole version heals it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
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


def changed(weights: dict[str, torch.Tensor], change: str, folder: Path) -> dict[str, torch.Tensor]:
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
    elif change == "another model":
        return engines.weights_of(engines.make_model(folder / "model", 3, hidden_size=64, intermediate_size=128, num_hidden_layers=2))
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
        ("another model", r"loader refuses|would get|has \d+ elements where"),
        ("another type", r"lm_head\.weight is float32 where lm_head\.weight is bfloat16"),
    ],
)
def test_a_set_that_does_not_fit_is_refused(models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session, change: str, named: str) -> None:
    wrong = changed(engines.weights_of(models.b), change, folder)
    label = models.llm.get_weight_version()
    with session.publisher("policy", source=wrong) as publisher:
        attach(client, folder)
        version = publisher.publish_from(wrong, step=1)
        with pytest.raises(wsync.Error, match=named) as caught:
            push(client, version.label)
        assert caught.value.code == "invalid_argument"
        assert "No weight was touched" in str(caught.value)
        assert engines.holds_of(publisher, 0) == 0
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
from safetensors.torch import load_file
import wsync
control, model, what = sys.argv[1:]
weights = load_file(f"{model}/model.safetensors")
session = wsync.Session.open(f"dir:{control}", socket_directory=f"{control}/sockets")
options = {"version_directory": f"{control}/small"} if what == "to a full disk" else {}
try:
    publisher = session.publisher("policy", source=weights, lease_seconds=1, **options)
    if what == "half":
        with publisher.begin_write() as write:
            for i, (name, *_) in enumerate(write.shards()[: len(weights) // 2]):
                write.copy(i, weights[name])
            print("half", flush=True)
            sys.stdin.read()
    else:
        print(publisher.publish_from(weights, step=1).label, flush=True)
        sys.stdin.read()
except wsync.Error as why:
    print(why.code, flush=True)
"""


def start_trainer(folder: Path, model: Path, what: str, *prefix: str) -> subprocess.Popen[str]:
    command = [*prefix, sys.executable, "-c", TRAINER, str(folder), str(model), what]
    return subprocess.Popen(command, cwd=Path(__file__).parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line_of(trainer: subprocess.Popen[str]) -> str:
    assert trainer.stdout is not None
    return trainer.stdout.readline().strip()


def check_old_serves_and_another_trainer_takes_over(models: Models, client: engines.JsonClient, session: wsync.Session) -> None:
    assert engines.checksums(models.llm) == models.sums_a
    assert engines.greedy(models.llm) == models.tokens_a
    b = engines.weights_of(models.b)
    with session.publisher("policy", source=b) as publisher:
        push(client, publisher.publish_from(b, step=2).label)  # the engine was not started anew
        assert engines.checksums(models.llm) == models.sums_b
        assert engines.holds_of(publisher, 0) == 0


@pytest.mark.parametrize("when", ["before it published", "after it published", "while it is read"])
def test_a_killed_trainer(models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session, when: str) -> None:
    with start_trainer(folder, models.b, "half" if when == "before it published" else "whole") as trainer:
        label = line_of(trainer)
        attach(client, folder, deadline=3, use="copy", transports=["tcp"])
        if when == "while it is read":
            trainer.send_signal(signal.SIGSTOP)  # its bytes stop coming
            threading.Timer(1.5, trainer.kill).start()
        else:
            trainer.kill()
            trainer.wait()
        began = time.monotonic()
        with pytest.raises(wsync.Error) as caught:
            push(client, "" if label == "half" else label)
        assert caught.value.code in ("peer_lost", "timed_out", "unavailable", "not_found")
        assert time.monotonic() - began < 15  # by the deadline: until then another trainer may come
    check_old_serves_and_another_trainer_takes_over(models, client, session)


def test_a_full_disk(models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session) -> None:
    """The trainer can't save what its engines would read: nothing is published, and it says so."""
    (folder / "small").mkdir()
    mount = f'mount -t tmpfs -o size=1m small {folder}/small && exec "$@"'
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    with start_trainer(folder, models.b, "to a full disk", *namespace, "sh", "-c", mount, "sh") as trainer:
        assert line_of(trainer) == "resource_exhausted"
        attach(client, folder, deadline=2, use="copy", transports=["disk"])
        with pytest.raises(wsync.Error):
            push(client, "")
        trainer.kill()
    attach(client, folder)
    check_old_serves_and_another_trainer_takes_over(models, client, session)


def test_a_stranger_without_the_secret(models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session) -> None:
    """It knows where the trainer is, from the control folder's records, but has the secret of another."""
    b = engines.weights_of(models.b)
    other = folder / "other"
    with (
        session.publisher("policy", source=b, run="job") as publisher,
        wsync.Session.open(f"dir:{other}", socket_directory=str(folder / "sockets")) as elsewhere,
        elsewhere.publisher("policy", source=b, run="job") as rival,
    ):
        version = publisher.publish_from(b, step=1)
        rival.publish_from(b, step=1)
        secret = Path("values/policy/epoch,value")
        assert (folder / secret).stat().st_mode & 0o777 == 0o600
        strange = folder / "strange"
        shutil.copytree(folder / "values", strange / "values")
        shutil.copytree(folder / "leases", strange / "leases")
        shutil.copyfile(other / secret, strange / secret)
        for transports in (["shm"], ["tcp"]):
            attach(client, strange, deadline=3, use="copy", transports=transports)
            with pytest.raises(wsync.Error) as caught:
                push(client, version.label)
            assert caught.value.code in ("invalid_argument", "peer_lost", "timed_out", "unavailable"), caught.value
            if transports == ["tcp"]:
                assert "does not know the secret that we have" in str(caught.value)
            assert engines.checksums(models.llm) == models.sums_a
            assert engines.holds_of(publisher, 0) == 0
        attach(client, folder)
        push(client, version.label)
        assert engines.checksums(models.llm) == models.sums_b


def test_an_older_version(models: Models, client: engines.JsonClient, folder: Path, session: wsync.Session) -> None:
    """Of this trainer, or of one that another took over from."""
    a, b = engines.weights_of(models.a), engines.weights_of(models.b)
    with session.publisher("policy", source=a, run="first", lease_seconds=1) as publisher:
        attach(client, folder, deadline=3)
        old = publisher.publish_from(a, step=1)
        push(client, publisher.publish_from(b, step=2).label)
        with pytest.raises(wsync.Error) as caught:
            push(client, old.label)
        assert caught.value.code in ("timed_out", "unavailable")
        assert engines.checksums(models.llm) == models.sums_b
    with session.publisher("policy", source=b, run="second") as publisher:
        newest = publisher.publish_from(b, step=1)
        with pytest.raises(wsync.Error, match="is asked for, but the newest version is"):
            push(client, old.label)
        push(client, newest.label)  # a newer epoch, although its step is lower
        assert engines.checksums(models.llm) == models.sums_b
        assert models.llm.get_weight_version() == newest.label
