"""The trainer's side of vLLM's control plane: which calls make the engine take a version."""

from __future__ import annotations

import concurrent.futures
import json
import urllib.error
import urllib.request
from typing import Any, Protocol

from .._error import Error


class Client(Protocol):
    """vLLM's VLLMWeightSyncClient: its HTTP and Ray clients have these four, and so does LLMClient."""

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None: ...
    def start_weight_update(self) -> None: ...
    def update_weights(self, update_info: Any) -> None: ...
    def finish_weight_update(self, weight_version: str | None = None) -> None: ...


class LLMClient:
    """A client for a vllm.LLM in this process. `kv`: what becomes of the prefix cache after an update: "clear" or "keep"."""

    def __init__(self, llm: Any, *, kv: str = "clear") -> None:
        if kv not in ("clear", "keep"):
            raise Error("invalid_argument", f'kv is "{kv}": give "clear" or "keep"')
        self.llm = llm
        self.kv = kv

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self.llm.init_weight_transfer_engine({"init_info": init_info})

    def start_weight_update(self) -> None:
        self.llm.start_weight_update()

    def update_weights(self, update_info: Any) -> None:
        self.llm.update_weights({"update_info": update_info})

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        # First the cache: a label on new weights with old keys and values would be wrong.
        if self.kv == "clear" and not self.llm.reset_prefix_cache():
            raise Error("unavailable", "vLLM did not clear its prefix cache: requests run; update between calls of generate")
        self.llm.finish_weight_update(weight_version)


class HTTPClient:
    """A client for vLLM servers (started with VLLM_SERVER_DEV_MODE=1): each call goes to all of them at once, and all must do it.

    `on_update`: what becomes of the requests in flight: "keep" (frozen, they go on with the new weights), "wait" (for their end),
    "abort". `kv`: "clear" or "keep" the cached keys and values of the old weights. Replicas are paused only while weights are installed.
    """

    def __init__(self, *urls: str, on_update: str = "keep", kv: str = "clear", timeout: float = 300.0) -> None:
        if not urls or on_update not in ("keep", "wait", "abort") or kv not in ("clear", "keep"):
            raise Error("invalid_argument", 'give URLs; on_update is "keep", "wait" or "abort", and kv "clear" or "keep"')
        self.urls = [url.rstrip("/") for url in urls]
        self.on_update = on_update
        self.kv = kv
        self.timeout = timeout

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self.call("init_weight_transfer_engine", {"init_info": init_info})

    def start_weight_update(self) -> None:
        self.call("start_weight_update")

    def update_weights(self, update_info: Any) -> None:
        self.call("update_weights", {"update_info": update_info})

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self.call("finish_weight_update", {"weight_version": weight_version})

    def pause(self) -> None:
        self.call(f"pause?mode={self.on_update}&clear_cache={str(self.kv == 'clear').lower()}")

    def resume(self) -> None:
        self.call("resume")

    def call(self, path: str, body: Any = None) -> list[Any]:
        """POSTs to every replica and gives their answers. Error("unavailable") names those that refused, when all have answered."""
        with concurrent.futures.ThreadPoolExecutor(len(self.urls)) as pool:
            answers = [pool.submit(self._post, f"{url}/{path}", body) for url in self.urls]
        failed = [f"{url}: {answer.exception()}" for url, answer in zip(self.urls, answers, strict=True) if answer.exception()]
        if failed:
            raise Error("unavailable", f"{path.partition('?')[0]}: {'; '.join(failed)}")
        return [answer.result() for answer in answers]

    def _post(self, url: str, body: Any) -> Any:
        data = b"" if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as why:
            raise RuntimeError(f"HTTP {why.code}: {_message_in(why.read())}") from why


def _message_in(body: bytes) -> str:
    """vLLM says what went wrong in JSON: {"error": {"message": ...}} or {"detail": ...}."""
    text = body.decode(errors="replace")
    try:
        said = json.loads(text)
        said = said.get("error", said.get("detail", said))
        return str(said.get("message", said) if isinstance(said, dict) else said)
    except (ValueError, AttributeError):
        return text[:2000]


def push(client: Client, label: str) -> None:
    """Makes every replica behind `client` stage, verify and install the version `label`, which has been published.

    First all stage it, while they serve; then a client that can is asked to pause, the weights are installed, and it resumes. When this
    raises, either no weight was touched and the old version serves, or a replica was left paused and marked: it refuses to finish
    an update until a push succeeds, and must not generate before (the error says which).
    """
    client.start_weight_update()
    pause, resume = getattr(client, "pause", None), getattr(client, "resume", None)
    if pause is not None:
        client.update_weights({"version": label, "stage_only": True})
        pause()
    client.update_weights({"version": label})
    client.finish_weight_update(label)
    if resume is not None:
        resume()
