"""Requests that a vLLM server works on while its weights change, and what their answers say."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Answer:
    tokens: list[int]
    spans: list[dict[str, Any]]  # vLLM's weight_versions: version, start, end
    finish_reason: str


def _ask_for(url: str, prompt: list[int], count: int, **more: Any) -> Any:
    body = {"token_ids": prompt, "sampling_params": {"temperature": 0, "max_tokens": count, "ignore_eos": True, "detokenize": False}, **more}
    request = urllib.request.Request(f"{url}/inference/v1/generate", json.dumps(body).encode(), {"Content-Type": "application/json"})
    return urllib.request.urlopen(request, timeout=120)


def generate(url: str, prompt: list[int], count: int) -> Answer:
    """`count` greedy tokens, by the route whose answers have the versions of their tokens (servers with --enable-scale-out)."""
    with _ask_for(url, prompt, count) as answer:
        (choice,) = json.loads(answer.read())["choices"]
    return Answer(choice["token_ids"] or [], choice["weight_versions"] or [], choice["finish_reason"])


def metric(url: str, name: str) -> float:
    """The sum of a counter's or gauge's rows."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        rows = [line for line in answer.read().decode().splitlines() if line.startswith((name + "{", name + " "))]
    assert rows, f"no metric {name}"
    return sum(float(row.rsplit(" ", 1)[1]) for row in rows)


def check_spans(answer: Answer, labels: list[str]) -> None:
    """Every token has a version: one of `labels`, in their order, without a gap."""
    at, place = 0, -1
    for span in answer.spans:
        assert span["start"] == at, f"a gap before token {span['start']}: {answer.spans}"
        assert span["end"] > at
        at = span["end"]
        assert span["version"] in labels[place + 1 :], f"{span['version']} after {labels[place] if place >= 0 else 'nothing'}"
        place = labels.index(span["version"], place + 1)
    assert at == len(answer.tokens), f"{len(answer.tokens)} tokens, but the versions end at {at}"


def prompt_of(thread: int, number: int) -> list[int]:
    return [(thread * 31 + number * 17 + j * 7) % 500 + 3 for j in range(40)]


class _Clients:
    """Threads that each run `_client` with a number of its own until the `with` block ends; it waits for them."""

    def __init__(self, url: str, count: int) -> None:
        self.url = url
        self._stop = threading.Event()
        self._problems: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(i,)) for i in range(count)]

    def _client(self, own: int) -> None:
        raise NotImplementedError

    def _run(self, own: int) -> None:
        try:
            self._client(own)
        except Exception as why:
            self._problems.append(why)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


class Load(_Clients):
    """Clients that ask again and again, each time with another prompt; the last answers are waited for."""

    def __init__(self, url: str, *, threads: int, tokens: int, rounds: int = 1_000_000) -> None:
        super().__init__(url, threads)
        self._tokens = tokens
        self._rounds = rounds
        self._answers: list[Answer] = []
        self._before = metric(url, "vllm:generation_tokens_total")

    def _client(self, own: int) -> None:
        for i in range(self._rounds):
            self._answers.append(generate(self.url, prompt_of(own, i), self._tokens))
            if self._stop.is_set():
                return

    def wait_for_tokens(self, count: int) -> None:
        """Until the server has made so many tokens since this was made."""
        deadline = time.monotonic() + 60
        while metric(self.url, "vllm:generation_tokens_total") - self._before < count:
            assert time.monotonic() < deadline and not self._problems, self._problems
            time.sleep(0.005)

    def answers(self) -> list[Answer]:
        if self._problems:
            raise self._problems[0]
        return self._answers


class Streams(_Clients):
    """Clients to whom tokens come as they are made, one request each."""

    def __init__(self, url: str, *, count: int, tokens: int) -> None:
        super().__init__(url, count)
        self._tokens = tokens
        self._arrivals: list[list[float]] = [[] for _ in range(count)]

    def _client(self, own: int) -> None:
        with _ask_for(self.url, prompt_of(own, 0), self._tokens, stream=True) as answer:
            for line in answer:
                if line.startswith(b"data: {"):
                    assert b'"error"' not in line, line
                    self._arrivals[own].append(time.monotonic())
                if self._stop.is_set():
                    return

    def wait_for_tokens(self, count: int) -> None:
        """Until every client has so many."""
        deadline = time.monotonic() + 60
        while min(map(len, self._arrivals)) < count:
            assert time.monotonic() < deadline and not self._problems, self._problems
            time.sleep(0.002)

    def longest_gap(self, since: float, until: float) -> float:
        """The longest that a client waited for its next token in that time; waits until each has had one after it."""
        deadline = time.monotonic() + 60
        while min(times[-1] for times in self._arrivals) < until:
            assert time.monotonic() < deadline and all(one.is_alive() for one in self._threads), f"a stream that ended early: {self._problems}"
            time.sleep(0.002)
        assert all(times[0] < since for times in self._arrivals), "a stream that began late"
        return max(b - a for times in self._arrivals for a, b in zip(times, times[1:], strict=False) if b > since and a < until)
