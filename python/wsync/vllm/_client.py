"""The trainer's side of vLLM's control plane: clients of one engine, or of a fleet."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import json
import time
import urllib.error
import urllib.request
from typing import Any, Protocol

from .._error import Error
from ._sign import signs_of


class Client(Protocol):
    """vLLM's VLLMWeightSyncClient: its HTTP and Ray clients have these four, and so does LLMClient."""

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None: ...
    def start_weight_update(self) -> None: ...
    def update_weights(self, update_info: Any) -> None: ...
    def finish_weight_update(self, weight_version: str | None = None) -> None: ...


UNTOUCHED = "no weight was touched"  # a worker says so of itself while that is true
SALT_PATH = "wsync/salt"  # of SaltByVersion
_KV = ("clear", "keep", "salt")


def salt_of(text: str) -> str:
    """A `cache_salt` that vLLM takes: short, without "@" and "/"."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class LLMClient:
    """A client for a vllm.LLM in this process.

    `kv`: what becomes of the prefix cache: "clear" it with each update, "keep" it, or "salt": requests that carry `client.salt`, as
    {"prompt_token_ids": ..., "cache_salt": client.salt}, find only what was cached under the weights of now. One thread.
    """

    def __init__(self, llm: Any, *, kv: str = "clear") -> None:
        if kv not in _KV:
            raise Error("invalid_argument", f'kv is "{kv}": give "clear", "keep" or "salt"')
        self.llm = llm
        self.kv = kv
        self.salt = salt_of("")  # of the label of the weights of now

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
        self.salt = salt_of(weight_version) if weight_version else self.salt


class HTTPClient:
    """A client for vLLM servers (started with VLLM_SERVER_DEV_MODE=1): each call goes to all of them at once, and all must do it.

    `on_update`: what becomes of the requests in flight: "keep" (frozen, they go on with the new weights), "wait" (for their end),
    "abort". `kv`: what becomes of the cached keys and values of the old weights: "clear", "keep", or "salt": they stay, for requests
    that began before; servers started with --middleware wsync.vllm.SaltByVersion give later ones a cache of their own.
    Replicas stage versions in the background, and are paused only while weights are installed. `control`: the control folder as this process
    sees it, if not as init_weight_transfer_engine gives it. `timeout`: seconds of one call; waiting for requests' end is one. One thread.
    """

    def __init__(self, *urls: str, on_update: str = "keep", kv: str = "clear", control: str = "", timeout: float = 300.0) -> None:
        if not urls or on_update not in ("keep", "wait", "abort") or kv not in _KV:
            raise Error("invalid_argument", 'give URLs; on_update is "keep", "wait" or "abort", and kv "clear", "keep" or "salt"')
        self.urls = [url.rstrip("/") for url in urls]
        self.on_update = on_update
        self.kv = kv
        self.control = control
        self.timeout = timeout

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        if self.kv == "salt":
            try:
                self.call(SALT_PATH)
            except Error as why:
                raise Error("unsupported", f'kv="salt" needs servers started with --middleware wsync.vllm.SaltByVersion ({why.message})') from why
        self.call("init_weight_transfer_engine", {"init_info": init_info})
        self.control = self.control or str(init_info.get("control", ""))

    def start_weight_update(self) -> None:
        self.call("start_weight_update")

    def stage(self, asked: dict[str, Any]) -> None:
        """Returns when all replicas have staged a version while they served. An engine doesn't serve while a call waits in its worker, so
        it is this that waits, as long as it sees a worker's sign; where it sees none the last call waits."""
        left = set(signs_of(self.control, asked["version"]))  # of a worker that was killed
        self.update_weights({**asked, "stage_only": True, "background": True})
        until = time.monotonic() + self.timeout
        look = time.monotonic() + 1
        while not left.issuperset(signs_of(self.control, asked["version"])) and time.monotonic() < until:
            time.sleep(0.002)
            if time.monotonic() > look:
                if not self._all_healthy():
                    break
                look = time.monotonic() + 1
        self.update_weights({**asked, "stage_only": True})

    def update_weights(self, update_info: Any) -> None:
        self.call("update_weights", {"update_info": update_info})

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self.call("finish_weight_update", {"weight_version": weight_version})

    def pause(self) -> None:
        self.call(f"pause?mode={self.on_update}&clear_cache={str(self.kv == 'clear').lower()}")

    def resume(self) -> None:
        self.call("resume")

    def abandon(self, *, paused: bool) -> None:
        """Ends the update on every replica, wherever it has come to. Those that say that no weight was touched run on, if `paused`;
        the others stay as they are."""
        for url in self.urls:
            with contextlib.suppress(RuntimeError, OSError):  # an update may be under way: that is the one to end
                self._post(f"{url}/start_weight_update", None)
        answers = self._ask_all("update_weights", {"update_info": {"abandon": True}})
        for url, answer in zip(self.urls, answers, strict=True):
            if paused and UNTOUCHED in str(answer.exception()):
                with contextlib.suppress(RuntimeError, OSError):
                    self._post(f"{url}/resume", None)

    def call(self, path: str, body: Any = None) -> list[Any]:
        """POSTs to every replica and gives their answers. Error("unavailable") names those that refused, when all have answered."""
        answers = self._ask_all(path, body)
        failed = [f"{url}: {answer.exception()}" for url, answer in zip(self.urls, answers, strict=True) if answer.exception()]
        if failed:
            raise Error("unavailable", f"{path.partition('?')[0]}: {'; '.join(failed)}")
        return [answer.result() for answer in answers]

    def _all_healthy(self) -> bool:
        try:
            for url in self.urls:
                with urllib.request.urlopen(f"{url}/health", timeout=self.timeout):
                    pass
        except OSError:
            return False
        return True

    def _ask_all(self, path: str, body: Any) -> list[concurrent.futures.Future[Any]]:
        with concurrent.futures.ThreadPoolExecutor(len(self.urls)) as pool:
            return [pool.submit(self._post, f"{url}/{path}", body) for url in self.urls]

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
