"""The trainer's side: which of SGLang's HTTP calls make its servers take a version, and what an answer to each means."""

from __future__ import annotations

import concurrent.futures
import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from typing import Any, Literal

from .._error import Error
from .._events import failures, report_event
from ._order import Answer, Order, answers, answers_folder

LOADER = "wsync.sglang.load_weights"


class Controller:
    """Of SGLang servers that were started with `--custom-weight-loader wsync.sglang.load_weights`. Every call goes to all of them at once.

    `control`: "dir:FOLDER", as the servers' hosts see it. `ranks`: workers of one server; 0 asks it (tp_size). `on_update`: what becomes
    of requests in flight: "in_place" (frozen; they go on with their old cache), "retract" (computed again), "abort". `kv`: "clear" or
    "keep" what was cached under the old weights; with in_place it can only be kept, as SGLang refuses to flush under frozen requests.
    `options`: of the workers: use, transports, verification, threads, slabs, socket_directory, tcp_host. One thread.
    """

    def __init__(
        self, urls: Sequence[str], control: str, *, name: str = "policy", ranks: int = 0, on_update: Literal["in_place", "retract", "abort"] = "retract",
        kv: Literal["clear", "keep"] = "clear", timeout: float = 300.0, deadline: float = 120.0, api_key: str = "", **options: Any,
    ) -> None:  # fmt: skip
        if not urls or on_update not in ("in_place", "retract", "abort") or kv not in ("clear", "keep"):
            raise Error("invalid_argument", 'give URLs; on_update is "in_place", "retract" or "abort", and kv "clear" or "keep"')
        if on_update == "in_place" and kv == "clear":
            raise Error("invalid_argument", 'SGLang can\'t clear its cache under requests that are frozen in place: give kv="keep", or on_update="retract"')
        self.urls = [url.rstrip("/") for url in urls]
        self.on_update = on_update
        self.kv = kv
        self.marked = ""  # the label that servers hold a part of
        self._control = control
        self._name = name
        self._ranks = ranks
        self._timeout = timeout
        self._deadline = deadline
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {api_key}"} if api_key else {})}
        self._options = options
        self._answers = answers_folder(control)
        self._sessions: dict[str, bool] = {}  # by server, when it has been asked: it has update sessions

    def push(self, label: str) -> dict[str, list[dict[str, Any]]]:
        """Makes every worker of every server stage, verify and install the version `label`. The workers' metrics, by server.

        No model is touched before all workers have staged it. Servers with update sessions (0.5.23) take calls of the loader in a session
        alone, and a session wants them paused; older ones stage while they serve. Then the weights are installed, the cache is flushed,
        the version's label is set, and they go on. When this raises before a model was touched, the old weights serve, and the servers go
        on. After that they stay paused, and `marked` names the label: push a whole version again.
        """
        with failures("sglang", name=self._name, version=label):
            if self._sessions and not any(self._sessions.values()):
                self._order("stage", label)
            began = time.monotonic()
            self._all("pause_generation", {"mode": self.on_update})
            try:
                found = self._update(label)
            except Error:
                if not self.marked:
                    self._all("continue_generation", {})
                raise
            self._all("continue_generation", {})
        seconds = time.monotonic() - began
        report_event("push", f"{len(self.urls)} servers have {label}, paused for {seconds * 1e3:.0f} ms", name=self._name, version=label, stage="resume",
                     seconds=seconds)  # fmt: skip
        return found

    def _update(self, label: str) -> dict[str, list[dict[str, Any]]]:
        opened: list[str] = []
        try:
            for url in self.urls:
                self._sessions[url] = self._begin(url)
                opened += [url] * self._sessions[url]
            self._order("stage", label)
            self.marked = label
            found = self._order("install", label)
        finally:
            for url in opened:
                self._must(url, "end_weight_update", {})
        if self.kv == "clear":
            self._flush()
        self._all("update_weight_version", {"new_version": label, "abort_all_requests": False})
        self.marked = ""
        return found

    def _begin(self, url: str) -> bool:
        """Whether this server has sessions, which must then be open. One that was left open is ended first."""
        for attempt in (1, 2):
            code, said = self._post(url, "begin_weight_update", {"selector": "all"})
            if code in (404, 405):
                return False
            if code == 200 and said.get("success"):
                return True
            if attempt == 2 or "already open" not in str(said.get("message", "")):
                break
            self._post(url, "end_weight_update", {})
        raise Error("unavailable", f"{url}: begin_weight_update: HTTP {code}: {said.get('message', said)}")

    def _order(self, act: str, label: str) -> dict[str, list[dict[str, Any]]]:
        """On every server; the first failure is raised when all have answered."""
        with concurrent.futures.ThreadPoolExecutor(len(self.urls)) as pool:
            asked = {url: pool.submit(self._order_one, url, act, label) for url in self.urls}
        for one in asked.values():
            one.result()
        return {url: [answer.metrics for answer in one.result()] for url, one in asked.items()}

    def _order_one(self, url: str, act: str, label: str) -> list[Answer]:
        ranks = self._ranks or self._tp_size(url)
        call = f"{act}-{uuid.uuid4().hex[:12]}"
        order = Order(act, self._control, self._name, label, call, str(self._answers), self._options, self._deadline)
        tensors = [order.serialized()] * ranks
        self._must(url, "update_weights_from_tensor", {"serialized_named_tensors": tensors, "load_format": LOADER, "flush_cache": False})
        found = answers(self._answers, call)
        for file in self._answers.glob(f"{call}.*.json"):
            file.unlink()
        consequence = "the server holds a part of it now: it stays paused, push a whole version" if act == "install" else "no weight was touched"
        failed = [one for one in found if one.code]
        if failed:
            said = "; ".join(f"rank {one.rank}: {one.message}" for one in failed)
            raise Error(failed[0].code, f"{url}: {label}: {said}; {consequence}")  # type: ignore[arg-type, unused-ignore]
        if len(found) != ranks:
            seen = f"do they see {self._answers}, and have the same wsync?"
            raise Error("unavailable", f"{url}: {label}: {len(found)} of {ranks} workers answered: {seen} {consequence}")
        return found

    def _flush(self) -> None:
        """SGLang refuses while it finishes with what was retracted or aborted."""
        until = time.monotonic() + self._timeout
        for url in self.urls:
            while (answer := self._post(url, "flush_cache", {}))[0] != 200:
                if time.monotonic() > until:
                    raise Error("timed_out", f"{url}: flush_cache: HTTP {answer[0]} until the deadline: requests run")
                time.sleep(0.05)

    def _tp_size(self, url: str) -> int:
        for path in ("server_info", "get_server_info"):
            code, said = self._request(f"{url}/{path}", None)
            if code == 200:
                return int(said.get("tp_size", 1))
        raise Error("unavailable", f"{url}: neither server_info nor get_server_info answers: give ranks=")

    def _all(self, path: str, body: dict[str, Any]) -> None:
        with concurrent.futures.ThreadPoolExecutor(len(self.urls)) as pool:
            list(pool.map(lambda url: self._must(url, path, body), self.urls))

    def _must(self, url: str, path: str, body: dict[str, Any]) -> None:
        code, said = self._post(url, path, body)
        if code != 200 or said.get("success") is False:
            raise Error("unavailable", f"{url}: {path}: HTTP {code}: {said.get('message', said)}")

    def _post(self, url: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return self._request(f"{url}/{path}", json.dumps(body).encode())

    def _request(self, url: str, data: bytes | None) -> tuple[int, dict[str, Any]]:
        request = urllib.request.Request(url, data, self._headers, method="GET" if data is None else "POST")
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                return answer.status, _read(answer.read())
        except urllib.error.HTTPError as why:
            return why.code, _read(why.read())
        except OSError as why:
            raise Error("peer_lost", f"{url}: {why}") from why


def _read(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body or b"{}")
    except ValueError:
        return {"message": body.decode(errors="replace")[:500]}
    return said if isinstance(said, dict) else {"message": said}

