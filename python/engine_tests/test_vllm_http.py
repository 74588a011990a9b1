"""A real vLLM server takes versions, with requests in flight."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import engines
import pytest
import requests_in_flight as flight
from engines import Models, attach

import wsync
from wsync.vllm import HTTPClient, push, rollback


class Served(NamedTuple):
    server: engines.Server
    models: Models  # the same checkpoints in this process, to compare with

    def client(self, **how: Any) -> HTTPClient:
        return HTTPClient(self.server.url, **how)

    def checker(self, action: str, baseline: dict[str, str] | None = None) -> Any:
        if baseline is not None:
            baseline = {name: one for name, one in baseline.items() if name.startswith("dp")}  # those that vLLM itself makes
        return self.client().call("weight_checker", {"action": action, "baseline": baseline})[0]

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.server.url}/{path}", timeout=10) as answer:
            return json.loads(answer.read())

    def tokens(self, count: int = 24) -> list[list[int]]:
        """Greedy, of the prompts of engines.greedy."""
        return [flight.generate(self.server.url, ids, count).tokens for ids in engines.PROMPTS]


@pytest.fixture(scope="module")
def served(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = engines.Server(models.a, tmp_path_factory.mktemp("served") / "server.log")
    yield Served(server, models)
    server.close()
    assert server.process.returncode == 0, server.log.read_text()[-2000:]


def test_reset_update_compare(served: Served, folder: Path, session: wsync.Session) -> None:
    """The proof is the engine's: its weights are wiped, wsync's update puts them back, vLLM's own checker compares with a fresh engine's."""
    models, client = served.models, served.client()
    assert served.tokens() == models.tokens_a
    assert served.checker("compare", models.sums_a) == {"match": True, "mismatches": []}
    with session.publisher("policy", source=engines.weights_of(models.a)) as publisher:
        attach(client, folder)
        for path, sums, tokens in ((models.b, models.sums_b, models.tokens_b), (models.a, models.sums_a, models.tokens_a)):
            served.checker("reset")
            assert not served.checker("compare", sums)["match"]
            version = publisher.publish_from(engines.weights_of(path), step=1)
            report = push(client, version.label)
            assert served.checker("compare", sums) == {"match": True, "mismatches": []}
            assert served.tokens() == tokens  # prompts of more than four blocks, cached under the weights before
            assert served.get("weight_info") == {"weight_version": version.label}
            assert served.get("is_paused") == {"is_paused": False}
            assert (report.on_update, report.kv) == ("keep", "clear")
            assert report.seconds.keys() == {"start", "stage", "pause", "install", "finish", "resume"}
            assert 0 < report.engine_stalled_seconds < sum(report.seconds.values())


@pytest.mark.parametrize("reload", ["layerwise", "prepared"])
def test_fifty_updates_under_load_lose_no_request(served: Served, folder: Path, session: wsync.Session, reload: str) -> None:
    weights = [engines.weights_of(served.models.b), engines.weights_of(served.models.a)]
    client = served.client(on_update="keep", kv="clear")
    with session.publisher("policy", source=weights[0]) as publisher, flight.Load(served.server.url, threads=4, tokens=200) as load:
        attach(client, folder, reload=reload)
        labels = [served.get("weight_info")["weight_version"]]
        for step in range(50):
            load.wait_for_tokens(20 * (step + 1))  # spread over more tokens than the first four requests have
            version = publisher.publish_from(weights[step % 2], step=step)
            push(client, version.label)
            labels.append(version.label)
    answers = load.answers()  # raises what a request raised
    assert len(answers) > 4
    for answer in answers:
        assert (len(answer.tokens), answer.finish_reason) == (200, "length")
        flight.check_spans(answer, labels)
    crossed = [answer for answer in answers if len(answer.spans) > 1]
    assert len(crossed) >= 4, "requests that crossed an update"
    assert served.checker("compare", served.models.sums_a)["match"]


@pytest.mark.parametrize("how", ["keep", "wait", "abort"])
def test_what_becomes_of_a_request_in_flight(served: Served, folder: Path, session: wsync.Session, how: str) -> None:
    b = engines.weights_of(served.models.b)
    client = served.client(on_update=how)
    with session.publisher("policy", source=b) as publisher:
        attach(client, folder)
        before = push(client, publisher.publish_from(b, step=1).label).label
        version = publisher.publish_from(engines.weights_of(served.models.a), step=2)
        with flight.Load(served.server.url, threads=1, tokens=300, rounds=1) as load:
            load.wait_for_tokens(5)
            report = push(client, version.label)
        (answer,) = load.answers()
        flight.check_spans(answer, [before, version.label])
        versions = [span["version"] for span in answer.spans]
        assert report.on_update == how
        if how == "keep":
            assert (len(answer.tokens), answer.finish_reason, versions) == (300, "length", [before, version.label])
        elif how == "wait":
            assert (len(answer.tokens), answer.finish_reason, versions) == (300, "length", [before])
        else:
            assert (answer.finish_reason, versions) == ("abort", [before])
            assert 5 <= len(answer.tokens) < 300
        assert served.tokens() == served.models.tokens_a


@pytest.mark.parametrize("kv", ["clear", "keep", "salt"])
def test_what_becomes_of_the_prefix_cache(served: Served, folder: Path, session: wsync.Session, kv: str) -> None:
    def hits() -> float:
        return flight.metric(served.server.url, "vllm:prefix_cache_hits_total")

    client = served.client(kv=kv)
    with session.publisher("policy", source=engines.weights_of(served.models.a)) as publisher:
        attach(client, folder)
        push(served.client(kv="clear"), publisher.publish_from(engines.weights_of(served.models.a), step=1).label)  # of the tests before, nothing is cached
        served.tokens()
        before = hits()
        assert served.tokens() == served.models.tokens_a
        assert hits() - before >= 4 * engines.BLOCK, "the prompt is found in the cache"
        report = push(client, publisher.publish_from(engines.weights_of(served.models.b), step=2).label)
        assert report.kv == kv
        before = hits()
        tokens = served.tokens()
        if kv == "keep":
            assert hits() - before >= 4 * engines.BLOCK, "what the old weights computed is used"
        else:
            assert hits() == before
            assert tokens == served.models.tokens_b
        before = hits()
        again = served.tokens()
        assert hits() - before >= 4 * engines.BLOCK, "and what the new ones computed is found"
        assert again == tokens


def test_salt_is_refused_where_the_server_does_not_salt(served: Served, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wsync.vllm import _client

    monkeypatch.setattr(_client, "SALT_PATH", "no/such/route")
    with pytest.raises(wsync.Error, match="--middleware wsync.vllm.SaltByVersion") as caught:
        attach(served.client(kv="salt"), folder)
    assert caught.value.code == "unsupported"


def test_rollback_over_http(served: Served, folder: Path, session: wsync.Session) -> None:
    a, b = engines.weights_of(served.models.a), engines.weights_of(served.models.b)
    client = served.client()
    with session.publisher("policy", source=a) as publisher:
        attach(client, folder, use="copy", slabs=2)
        first = push(client, publisher.publish_from(b, step=1).label).label
        push(client, publisher.publish_from(a, step=2).label)
    report = rollback(client, first)  # the trainer is gone
    assert report.rollback
    assert served.checker("compare", served.models.sums_b)["match"]
    assert served.tokens() == served.models.tokens_b
    assert served.get("weight_info") == {"weight_version": first}


def test_a_version_that_does_not_fit_leaves_the_server_serving(served: Served, folder: Path, session: wsync.Session) -> None:
    b = engines.weights_of(served.models.b)
    wrong = {name: tensor for name, tensor in b.items() if "layers.1.self_attn.v_proj" not in name}
    client = served.client()
    before = served.get("weight_info"), served.tokens()
    with session.publisher("policy", source=wrong) as publisher, flight.Load(served.server.url, threads=1, tokens=300, rounds=1) as load:
        attach(client, folder)
        load.wait_for_tokens(5)
        with pytest.raises(wsync.Error, match=r"layers\.1\.self_attn\.qkv_proj\.weight would get 24576 of its 32768"):
            push(client, publisher.publish_from(wrong, step=1).label)
    assert load.answers()[0].finish_reason == "length"
    assert served.get("is_paused") == {"is_paused": False}
    assert (served.get("weight_info"), served.tokens()) == before


TRAINER = """
import sys
from safetensors.torch import load_file
import wsync
from wsync.vllm import HTTPClient
control, model, url, how = sys.argv[1:]
weights = load_file(f"{model}/model.safetensors")
session = wsync.Session.open(f"dir:{control}", socket_directory=f"{control}/sockets")
publisher = session.publisher("policy", source=weights, lease_seconds=1)
label = publisher.publish_from(weights, step=1).label
client = HTTPClient(url)
client.init_weight_transfer_engine({"control": f"dir:{control}", "socket_directory": f"{control}/sockets", "deadline": 20})
client.start_weight_update()
client.update_weights({"version": label, "stage_only": True})
client.pause()
if how == "in the background":
    client.update_weights({"version": "policy@9", "stage_only": True, "background": True})
print(label, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["staged", "in the background"])
def test_a_trainer_killed_in_the_middle_of_an_update_leaves_a_replica_that_the_next_one_heals(
    served: Served, folder: Path, session: wsync.Session, how: str
) -> None:
    b = engines.weights_of(served.models.b)
    command = [sys.executable, "-c", TRAINER, str(folder), str(served.models.a), served.server.url, how]
    with subprocess.Popen(command, cwd=Path(__file__).parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdout is not None
        assert trainer.stdout.readline().strip()
        trainer.kill()
    assert served.get("is_paused") == {"is_paused": True}
    with session.publisher("policy", source=b) as publisher:
        version = publisher.publish_from(b, step=2)
        push(served.client(), version.label)  # vLLM had an update open, and was paused
    assert served.get("is_paused") == {"is_paused": False}
    assert served.get("weight_info") == {"weight_version": version.label}
    assert served.checker("compare", served.models.sums_b)["match"]
    assert served.tokens() == served.models.tokens_b


def test_a_replica_that_is_gone_does_not_stop_the_others(served: Served, folder: Path, session: wsync.Session) -> None:
    a = engines.weights_of(served.models.a)
    with session.publisher("policy", source=a) as publisher:
        attach(served.client(), folder)
        version = publisher.publish_from(a, step=1)
        fleet = HTTPClient(served.server.url, f"http://127.0.0.1:{engines.free_port()}")
        with pytest.raises(wsync.Error, match="start_weight_update: http://127.0.0.1:.*refused"):
            push(fleet, version.label)
        assert served.get("is_paused") == {"is_paused": False}
        push(served.client(), version.label)
    assert served.checker("compare", served.models.sums_a)["match"]


def test_what_trl_calls_each_step(served: Served, folder: Path) -> None:
    """In the order of TRL's AsyncGRPOTrainer, with FP32 masters from a generator that gives each tensor once. Not TRL itself."""
    from wsync.trl import WeightTransfer

    transfer = WeightTransfer(f"dir:{folder}", served.client(), socket_directory=str(folder / "sockets"))
    transfer.init_weight_transfer()
    for path, sums in ((served.models.b, served.models.sums_b), (served.models.a, served.models.sums_a)):
        masters = ((name, tensor.float()) for name, tensor in engines.weights_of(path).items())
        transfer.pause()
        transfer.send_weights(masters)
        transfer.resume()
        assert served.get("weight_info") == {"weight_version": transfer.label}
        assert served.checker("compare", sums)["match"]
    transfer.destroy()
