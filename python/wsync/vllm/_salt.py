"""A prefix cache of its own for each version: vLLM's servers are started with --middleware wsync.vllm.SaltByVersion."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ._client import SALT_PATH, salt_of

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]

_GENERATING = ("/v1/completions", "/v1/chat/completions", "/v1/responses", "/inference/v1/generate")


class SaltByVersion:
    """ASGI middleware. Requests get a `cache_salt` that changes with each installation by a client with kv="salt", so that no block which was
    computed under other weights is found; the old blocks stay until they are pushed out. A request's own salt is kept apart as well.

    It changes when an installation begins, before the engine hears of it, and is never used again: what comes then waits until the engine
    resumes. Of one API server process (no --api-server-count). One event loop.
    """

    def __init__(self, app: _App) -> None:
        self.app = app
        self.installations = 0
        self.label = ""

    @property
    def salt(self) -> str:
        """ "" before the first installation: what was cached until then is of the weights that the server started with."""
        return salt_of(f"{self.label}#{self.installations}") if self.installations else ""

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        path = scope.get("path", "") if scope["type"] == "http" and scope["method"] == "POST" else ""
        if path == f"/{SALT_PATH}":
            await _answer(send, {"salt": self.salt})
        elif path == "/update_weights" or path in _GENERATING:
            body = await _whole_body(receive)
            if body is not None:
                body = self._note(body) if path == "/update_weights" else self._salted(body)
                scope = {**scope, "headers": [*(one for one in scope["headers"] if one[0] != b"content-length"), (b"content-length", b"%d" % len(body))]}
                await self.app(scope, _replay(body, receive), send)
        else:
            await self.app(scope, receive, send)

    def _note(self, body: bytes) -> bytes:
        given = _dict_in(body).get("update_info")
        for info in given if isinstance(given, list) else [given]:
            if isinstance(info, dict) and info.get("kv") == "salt":
                self.installations += 1
                self.label = str(info.get("version", ""))
                break
        return body

    def _salted(self, body: bytes) -> bytes:
        request = _dict_in(body)
        if not request or not self.salt:
            return body
        own = request.get("cache_salt")
        if own is not None and not isinstance(own, str):
            return body  # vLLM refuses it
        request["cache_salt"] = self.salt if own is None else f"{self.salt}.{salt_of(own)}"
        return json.dumps(request).encode()


def _dict_in(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


async def _whole_body(receive: _Receive) -> bytes | None:
    """None: the client went away."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _replay(body: bytes, receive: _Receive) -> _Receive:
    given = False

    async def one() -> _Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return one


async def _answer(send: _Send, content: Any) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
