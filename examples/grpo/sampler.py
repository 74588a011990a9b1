"""vLLM in a process of its own: it samples, and takes versions from wsync."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_SETTINGS = {
    "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_PLUGINS": "wsync", "TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "PASSIVE",
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One reply: its tokens, their log-probabilities in the engine that drew them, and the version of the weights that made each."""

    tokens: list[int]
    logprobs: list[float]
    text: str
    finished: bool
    versions: list[tuple[str, int, int]]  # (label, first token, token after the last)


class Sampler:
    """The engine's process, as the trainer sees it; and a client as wsync.vllm.push wants one. One thread.

    Raises RuntimeError with the engine's words when a call fails there. close() ends the process; it also ends by itself when the
    trainer's does.
    """

    def __init__(self, checkpoint: Path, *, seed: int = 0) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        with _environment({**_SETTINGS, **_processors()}):
            self.process = context.Process(target=_serve, args=(theirs, str(checkpoint), seed))
            self.process.start()
        theirs.close()
        try:
            self.ready_seconds: float = self._answer()
        except BaseException:
            self.process.kill()
            self.close()
            raise

    def sample(self, prompts: Sequence[list[int]], *, count: int, tokens: int, temperature: float, seed: int) -> list[list[Sample]]:
        """`count` replies to each prompt, of at most `tokens` tokens; temperature 0 is greedy."""
        found: list[list[Sample]] = self._call("sample", list(prompts), count, tokens, temperature, seed)
        return found

    def checksums(self) -> dict[str, str]:
        """The engine's own SHA-256 of each tensor that its model holds, by the engine's names."""
        found: dict[str, str] = self._call("checksums")
        return found

    def report(self) -> dict[str, float]:
        """metrics() of the last version's SyncReport, the installation included."""
        found: dict[str, float] = self._call("report")
        return found

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self._call("init_weight_transfer_engine", init_info)

    def start_weight_update(self) -> None:
        self._call("start_weight_update")

    def update_weights(self, update_info: Any) -> None:
        self._call("update_weights", update_info)

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self._call("finish_weight_update", weight_version)

    def close(self) -> None:
        if self.process.is_alive():
            with contextlib.suppress(OSError):
                self._pipe.send(None)
            self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self._pipe.close()

    def __enter__(self) -> Sampler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, name: str, *arguments: Any) -> Any:
        self._pipe.send((name, arguments))
        return self._answer()

    def _answer(self) -> Any:
        try:
            worked, what = self._pipe.recv()
        except EOFError:
            self.process.join(5)
            raise RuntimeError(f"vLLM's process has ended, exit code {self.process.exitcode}") from None
        if not worked:
            raise RuntimeError(what)
        return what


class _Engine:
    """In the engine's process."""

    def __init__(self, checkpoint: str, seed: int) -> None:
        import vllm._custom_ops
        from vllm import LLM

        from wsync.vllm import LLMClient

        # With AVX-512 and AMX vLLM packs linear weights for oneDNN and drops the originals, so that its checksums would say nothing
        # about them. Torch's own linear leaves them where they can be checked.
        vllm._custom_ops._supports_onednn = False
        self.metrics: dict[str, float] = {}
        logging.getLogger("wsync").addHandler(_Figures(self.metrics))
        logging.getLogger("wsync").setLevel(logging.INFO)
        self.llm = LLM(
            checkpoint, dtype="bfloat16", max_model_len=256, max_num_seqs=128, enforce_eager=True, seed=seed, distributed_executor_backend="uni",
            enable_prefix_caching=True, weight_transfer_config={"backend": "wsync"},
        )  # fmt: skip
        self.client = LLMClient(self.llm)

    def sample(self, prompts: list[list[int]], count: int, tokens: int, temperature: float, seed: int) -> list[list[Sample]]:
        from vllm import SamplingParams

        how = SamplingParams(n=count, temperature=temperature, max_tokens=tokens, logprobs=0, seed=seed)
        outputs = self.llm.generate([{"prompt_token_ids": ids} for ids in prompts], how, use_tqdm=False)
        return [[_sample_of(one) for one in output.outputs] for output in outputs]

    def checksums(self) -> dict[str, str]:
        found = self.llm.llm_engine.collective_rpc("compute_weight_checksums")[0]
        return {name.rpartition(":")[2]: digest for name, digest in found.items()}

    def report(self) -> dict[str, float]:
        return dict(self.metrics)


class _Figures(logging.Handler):
    """Keeps the figures of the newest installation from wsync's log records."""

    def __init__(self, metrics: dict[str, float]) -> None:
        super().__init__()
        self.metrics = metrics

    def emit(self, record: logging.LogRecord) -> None:
        said = getattr(record, "wsync", {})
        if said.get("event") == "install":
            self.metrics.clear()
            self.metrics.update({key: value for key, value in said["metrics"].items() if isinstance(value, int | float)})


def _sample_of(one: Any) -> Sample:
    tokens = [int(token) for token in one.token_ids]
    logprobs = [float(table[token].logprob) for token, table in zip(tokens, one.logprobs, strict=True)]
    spans = [(span.version, span.start, span.end) for span in one.weight_versions or []]
    return Sample(tokens, logprobs, one.text, one.finish_reason == "stop", spans)


def _serve(pipe: Connection, checkpoint: str, seed: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the trainer's; it closes the pipe
    began = time.monotonic()
    try:
        engine = _Engine(checkpoint, seed)
    except BaseException as why:
        pipe.send((False, f"vLLM did not start: {type(why).__name__}: {why}"))
        return
    pipe.send((True, time.monotonic() - began))
    while True:
        try:
            asked = pipe.recv()
        except EOFError:
            return
        if asked is None:
            return
        name, arguments = asked
        home = engine if hasattr(engine, name) else engine.client
        try:
            answer = (True, getattr(home, name)(*arguments))
        except Exception as why:
            answer = (False, f"{name}: {type(why).__name__}: {why}")
        pipe.send(answer)


def _processors() -> dict[str, str]:
    """All of this process's, if they are in a row; else vLLM chooses."""
    mine = sorted(os.sched_getaffinity(0))
    whole = mine == list(range(mine[0], mine[-1] + 1))
    return {"VLLM_CPU_OMP_THREADS_BIND": f"{mine[0]}-{mine[-1]}"} if whole else {}


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Any:
    """For the child that is spawned inside."""
    before = {key: os.environ.get(key) for key in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
