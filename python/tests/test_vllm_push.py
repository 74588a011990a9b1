"""What push, rollback and the salt do, with servers that keep vLLM's session rules and nothing else."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wsync
from wsync.vllm import HTTPClient, SaltByVersion, _client, push, rollback
from wsync.vllm._sign import Sign, signs_of


class Replica(http.server.ThreadingHTTPServer):
    """As a vLLM server with wsync's worker: an update begins, is worked on and ends; `fails` names what breaks, once."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.active = self.paused = False
        self.unfinished = self.mixed = self.label = ""
        self.fails = ""
        self.dead = False
        self.calls: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def act(self, path: str, query: str, body: dict[str, Any]) -> None:
        info = body.get("update_info", {})
        call = path
        if path == "update_weights":
            call = "abandon" if info.get("abandon") else "rollback" if info.get("rollback") else "install"
            if info.get("stage_only"):
                call = "begin" if info.get("background") else "stage"
        self.calls.append(call)
        if call == self.fails:
            self.fails = ""
            self.active = False
            self.mixed = info["version"] if call == "install" else ""
            raise RuntimeError("out of luck")
        if call in ("begin", "stage", "install", "rollback", "abandon", "finish_weight_update") and not self.active:
            raise RuntimeError("start_weight_update must be called before")
        if call == "start_weight_update":
            if self.active:
                raise RuntimeError("start_weight_update called while a weight update is already active")
            self.active = True
        elif call == "abandon":
            self.active = False
            held = f"this replica holds a part of {self.mixed}" if self.mixed else ""
            raise RuntimeError(held or (f"{self.unfinished} was installed, but not finished" if self.unfinished else "no weight was touched"))
        elif call in ("install", "rollback"):
            assert self.paused
            self.unfinished, self.mixed = info["version"], ""
        elif call == "finish_weight_update":
            self.label, self.unfinished, self.active = body["weight_version"], "", False
        elif call in ("pause", "resume"):
            self.paused = call == "pause"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Replica

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"{}")
        path, _, query = self.path[1:].partition("?")
        try:
            self.server.act(path, query, body)
            status, said = 200, {}
        except RuntimeError as why:
            status, said = 500, {"error": {"message": str(why)}}
        content = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self.send_response(503 if self.server.dead else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def replicas() -> Iterator[list[Replica]]:
    made = [Replica(), Replica()]
    yield made
    for one in made:
        one.shutdown()
        one.server_close()


def test_the_order_of_a_push_and_what_it_reports(replicas: list[Replica]) -> None:
    client = HTTPClient(*(one.url for one in replicas), on_update="wait", kv="keep")
    report = push(client, "v1")
    for one in replicas:
        assert one.calls == ["start_weight_update", "begin", "stage", "pause", "install", "finish_weight_update", "resume"]
        assert (one.label, one.paused, one.active) == ("v1", False, False)
    assert (report.label, report.on_update, report.kv, report.rollback) == ("v1", "wait", "keep", False)
    assert report.metrics()["wsync/push/engine_stalled_seconds"] == report.engine_stalled_seconds > 0
    report = rollback(client, "v0")
    assert replicas[0].calls[7:] == ["start_weight_update", "pause", "rollback", "finish_weight_update", "resume"]
    assert (report.rollback, replicas[1].label) == (True, "v0")


@pytest.mark.parametrize("fails", ["start_weight_update", "begin", "stage", "pause"])
def test_what_fails_before_leaves_all_serving(replicas: list[Replica], fails: str) -> None:
    client = HTTPClient(*(one.url for one in replicas))
    push(client, "v1")
    replicas[1].fails = fails
    if fails == "start_weight_update":
        replicas[1].active = True  # somebody's update is open, and the first start of this one fails
        replicas[1].fails = ""
    else:
        with pytest.raises(wsync.Error, match=f"{replicas[1].url}: .*out of luck"):
            push(client, "v2")
        assert [(one.label, one.paused, one.active) for one in replicas] == [("v1", False, False)] * 2
    push(client, "v2")
    assert [(one.label, one.paused, one.active) for one in replicas] == [("v2", False, False)] * 2


def test_what_fails_in_the_middle_leaves_those_paused_that_changed(replicas: list[Replica]) -> None:
    client = HTTPClient(*(one.url for one in replicas))
    push(client, "v1")
    replicas[1].fails = "install"
    with pytest.raises(wsync.Error, match="out of luck"):
        push(client, "v2")
    assert [(one.label, one.paused, one.active) for one in replicas] == [("v1", True, False)] * 2
    assert [one.unfinished for one in replicas] == ["v2", ""]
    replicas[0].fails = "stage"  # again, and before anything was installed: neither may run
    with pytest.raises(wsync.Error, match="out of luck"):
        push(client, "v2")
    assert [one.paused for one in replicas] == [True, True]
    push(client, "v2")
    assert [(one.label, one.paused, one.active) for one in replicas] == [("v2", False, False)] * 2


def test_a_replica_that_is_gone(replicas: list[Replica]) -> None:
    gone = replicas.pop()
    client = HTTPClient(replicas[0].url, gone.url, timeout=5)
    gone.shutdown()
    gone.server_close()
    with pytest.raises(wsync.Error, match=gone.url) as caught:
        push(client, "v1")
    assert caught.value.code == "unavailable"
    assert (replicas[0].paused, replicas[0].active) == (False, False)


def test_a_push_waits_by_itself_while_a_worker_stages(replicas: list[Replica], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that waits in vLLM would keep its engine from serving."""
    control = f"dir:{tmp_path}"
    workers = [Sign(control, "v1"), Sign(control, "v1"), Sign(control, "v0")]
    for i, worker in enumerate(workers):
        worker.file = worker.file.with_stem(f"{worker.file.stem}.{i}") if worker.file else None  # as in processes of their own
    killed, stages, other = workers
    looks: list[list[str]] = []

    def look(control: str, label: str) -> list[Path]:
        seen = signs_of(control, label)
        looks.append([call for one in replicas for call in one.calls if call in ("begin", "stage")])
        if len(looks) == 2:
            stages.show()  # its call has returned before the second look
            return signs_of(control, label)
        if len(looks) == 5:
            stages.hide()
        return seen

    killed.show()
    other.show()
    monkeypatch.setattr(_client, "signs_of", look)
    client = HTTPClient(*(one.url for one in replicas))
    client.init_weight_transfer_engine({"control": control})
    push(client, "v1")
    assert looks == [[]] + [["begin", "begin"]] * 5
    assert replicas[0].label == "v1"
    assert [worker.file is not None and worker.file.exists() for worker in workers] == [True, False, True]


def test_a_worker_that_dies_while_it_stages_is_not_waited_for(replicas: list[Replica], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign = Sign(f"dir:{tmp_path}", "v1")

    def begin_and_die(path: str, query: str, body: dict[str, Any]) -> None:
        Replica.act(replicas[0], path, query, body)
        if body.get("update_info", {}).get("background"):
            sign.show()
            replicas[0].dead = True

    monkeypatch.setattr(replicas[0], "act", begin_and_die)
    client = HTTPClient(*(one.url for one in replicas), control=f"dir:{tmp_path}")
    replicas[0].fails = "stage"
    with pytest.raises(wsync.Error, match="out of luck"):
        push(client, "v1")
    assert replicas[1].label == ""


class App:
    """Behind the middleware: keeps what it is sent."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        length = dict(scope["headers"]).get(b"content-length")
        assert length is None or int(length) == len(message["body"])
        self.bodies.append(json.loads(message["body"] or b"null"))


def ask(salting: SaltByVersion, path: str, body: Any) -> Any:
    """What the middleware itself answers; None when the app did."""
    given = json.dumps(body).encode()
    parts = [given[:5], given[5:]]
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"content-length", b"%d" % len(given))]}
    asyncio.run(salting(scope, receive, send))
    return json.loads(sent[-1]["body"]) if sent else None


def test_the_salt_changes_with_each_installation() -> None:
    app = App()
    salting = SaltByVersion(app)

    def salt_of(request: dict[str, Any], path: str = "/v1/completions") -> Any:
        ask(salting, path, request)
        return app.bodies[-1].get("cache_salt")

    def update(**info: Any) -> None:
        ask(salting, "/update_weights", {"update_info": info})
        assert app.bodies[-1] == {"update_info": info}

    assert salt_of({"prompt": [1]}) is None
    update(version="v1", stage_only=True)
    update(version="v1", kv="clear")
    update(abandon=True)
    assert salt_of({"prompt": [1]}) is None
    update(version="v1", kv="salt")
    first = salt_of({"prompt": [1]})
    assert first == salt_of({"token_ids": [2]}, "/inference/v1/generate")
    update(version="v1", kv="salt")  # a second try: what came between may have met other weights
    second = salt_of({"prompt": [1]})
    own, other = (salt_of({"prompt": [1], "cache_salt": name}) for name in ("mine", "another's"))
    assert len({first, second, own, other}) == 4
    assert all(len(salt) <= 128 and not set(salt) & set("@/\\\0") for salt in (first, second, own, other)), "vLLM refuses others"
    assert ask(salting, "/wsync/salt", None) == {"salt": second}
    ask(salting, "/v1/completions", ["no object"])
    assert app.bodies[-1] == ["no object"]
