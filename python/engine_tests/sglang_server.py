"""A small HTTP server with SGLang's rules for weight updates (0.5.23): sessions, pause, flush, version.

Started in a test's process, in threads. Its workers are torch modules there, `sessions=False` with the rules of releases before begin_weight_update;
or processes with SGLang's own classes, whose rules for sessions, unpickling and loaders are then the real ones (OwnClasses).
"""

from __future__ import annotations

import base64
import importlib
import io
import json
import multiprocessing
import pickle
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

ALLOWED = {("torch", "ByteTensor"), ("torch", "tensor")}  # of what SGLang lets be unpickled, what an order needs


class Model(torch.nn.Module):
    """With a loader as SGLang's models have it: passes over names that it does not know."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        super().__init__()
        self.tensors = {name: torch.nn.Parameter(torch.zeros(shape, dtype=torch.bfloat16), requires_grad=False) for name, shape in shapes.items()}
        for name, tensor in self.tensors.items():
            self.register_parameter(name.replace(".", "_"), tensor)
        self.stumble_at = ""

    def load_weights(self, weights: Any) -> None:
        for name, tensor in weights:
            if name == self.stumble_at:
                raise ValueError(f"{name}: out of memory")
            if name in self.tensors:
                self.tensors[name].copy_(tensor)


class Server:
    """`.url` is up when the constructor returns. `.log` has the paths that were called; `.ended` says that an exception got out of a loader."""

    def __init__(self, models: list[Model], *, sessions: bool = True, allowed_loader: str = "wsync.sglang.load_weights") -> None:
        self.models = models
        self.sessions = sessions
        self.allowed_loader = allowed_loader
        self.log: list[str] = []
        self.open = self.paused = self.ended = False
        self.mode = ""
        self.version = "default"
        self.busy_flushes = 0  # refusals to come, as while requests are retracted
        self.rank = threading.local()
        handler = type("Handler", (_Handler,), {"server_state": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.log.append(path)
        handler = getattr(self, f"on_{path}", None)
        if handler is None or (not self.sessions and path in ("begin_weight_update", "end_weight_update")):
            return 404, {"detail": "Not Found"}
        message = handler(body)
        return (200, {"success": True, "message": "Success"}) if message is None else (400, {"success": False, "message": message})

    def on_begin_weight_update(self, body: dict[str, Any]) -> str | None:
        if self.open:
            return "a weight-update session is already open; call end_weight_update() first"
        self.open = True
        return None

    def on_end_weight_update(self, body: dict[str, Any]) -> str | None:
        if not self.open:
            return "no weight-update session is open; call begin_weight_update() first"
        self.open = False
        return None

    def on_update_weights_from_tensor(self, body: dict[str, Any]) -> str | None:
        if self.sessions and not self.open:
            return "update_weights_from_tensor must run between begin_weight_update() and end_weight_update()"
        if body["load_format"] != self.allowed_loader:
            self.ended = True
            return f"Unknown load_format={body['load_format']}"
        module, _, function = body["load_format"].rpartition(".")
        load = getattr(importlib.import_module(module), function)
        for rank, model in enumerate(self.models):
            self.rank.number = rank
            tensors = _Unpickler(io.BytesIO(base64.b64decode(body["serialized_named_tensors"][rank], validate=True))).load()
            try:
                load(model, [(name, tensor.to("cpu")) for name, tensor in tensors])
            except Exception:
                self.ended = True  # nothing catches it there: the engine ends
                raise
        if body.get("flush_cache", True):
            return self.on_flush_cache({})
        return None

    def on_pause_generation(self, body: dict[str, Any]) -> None:
        self.paused, self.mode = True, body["mode"]

    def on_continue_generation(self, body: dict[str, Any]) -> None:
        self.paused = False

    def on_flush_cache(self, body: dict[str, Any]) -> str | None:
        if self.mode == "in_place" and self.paused:
            return "requests are running"
        self.busy_flushes -= 1
        return "requests are running" if self.busy_flushes >= 0 else None

    def on_update_weight_version(self, body: dict[str, Any]) -> None:
        self.version = body["new_version"]


class Rank:
    """A process with SGLang's own classes (sglang_worker.py). `tensors` and `stumble_at` are its model's."""

    def __init__(self, number: int, ranks: int, meeting: Path, shapes: dict[str, tuple[int, ...]]) -> None:
        import sglang_worker

        context = multiprocessing.get_context("spawn")
        self._orders, theirs = context.Pipe()
        self.process = context.Process(target=sglang_worker.serve, args=(number, ranks, str(meeting), shapes, theirs), daemon=True)
        self.process.start()
        theirs.close()  # so that its end is heard here

    def send(self, method: str, fields: Any = None) -> None:
        self._orders.send((method, fields))

    def answer(self) -> Any:
        return self._orders.recv()

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        self.send("tensors")
        return safetensors.torch.load(self.answer())

    @property
    def stumble_at(self) -> str:
        raise AttributeError("only set")

    @stumble_at.setter
    def stumble_at(self, name: str) -> None:
        self.send("stumble", name)

    def end(self) -> None:
        self._orders.send(None)
        self.process.join(30)


class OwnClasses(Server):
    """What a scheduler of SGLang's decides is decided by SGLang's own classes, in each rank; the other rules are those above."""

    models: list[Rank]  # type: ignore[assignment]

    def on_begin_weight_update(self, body: dict[str, Any]) -> str | None:
        return self._on_all("begin_weight_update", body)

    def on_end_weight_update(self, body: dict[str, Any]) -> str | None:
        return self._on_all("end_weight_update", body)

    def on_update_weights_from_tensor(self, body: dict[str, Any]) -> str | None:
        payloads = [base64.b64decode(one, validate=True) for one in body["serialized_named_tensors"]]
        return self._on_all("update_weights_from_tensor", {**body, "serialized_named_tensors": payloads})

    def _on_all(self, method: str, fields: dict[str, Any]) -> str | None:
        try:
            for rank in self.models:
                rank.send(method, fields)
            answers = [rank.answer() for rank in self.models]
        except (EOFError, OSError):
            self.ended = True
            raise
        return next((message for success, message in answers if not success), None)


class _Handler(BaseHTTPRequestHandler):
    server_state: Server

    def do_GET(self) -> None:
        self._say(200, {"tp_size": len(self.server_state.models)} if self.path == "/server_info" else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        self._say(*self.server_state.answer(self.path.lstrip("/"), body))

    def _say(self, code: int, what: dict[str, Any]) -> None:
        data = json.dumps(what).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return super().find_class(module, name)
