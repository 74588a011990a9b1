"""Small models, made on the spot, and vLLM engines on them."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

os.environ.update(
    VLLM_ENABLE_V1_MULTIPROCESSING="0", HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", VLLM_CPU_KVCACHE_SPACE="1", VLLM_LOGGING_LEVEL="ERROR",
    VLLM_CONFIGURE_LOGGING="1", TOKENIZERS_PARALLELISM="false",
)  # fmt: skip

import pytest
import torch
import transformers

import wsync
from wsync.vllm import push

PROMPTS = [[(7 * i + 3) % 500 + 3 for i in range(200)], [5, 400, 32, 77, 9]]  # the first: more than four full blocks of the prefix cache
BLOCK = 32
BLOCKS = 256  # of KV cache, 8 MiB: enough for all requests that run at once. Without a number vLLM fills 1 GiB for each engine


def make_model(folder: Path, seed: int, **changes: Any) -> Path:
    """A checkpoint of a Llama of 0.7 million parameters whose greedy output depends on its weights."""
    config = transformers.LlamaConfig(
        **{
            "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
            "vocab_size": 512, "max_position_embeddings": 1024, "initializer_range": 0.2, "tie_word_embeddings": False, **changes,
        }
    )  # fmt: skip
    torch.manual_seed(seed)
    model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    return folder


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


_opened: list[Any] = []  # an engine that goes takes vLLM's process groups with it, which are those of all engines of this process


def open_llm(folder: Path, **changes: Any) -> Any:
    """In this process, until it ends; with tensor_parallel_size=2 its workers are processes of their own."""
    from vllm import LLM

    llm = LLM(
        str(folder),
        **{
            "enforce_eager": True, "dtype": "bfloat16", "max_model_len": 512, "max_num_seqs": 4, "skip_tokenizer_init": True, "block_size": BLOCK,
            "num_gpu_blocks_override": BLOCKS, "enable_prefix_caching": True, "seed": 0, "distributed_executor_backend": "uni",
            "weight_transfer_config": {"backend": "wsync"}, **changes,
        },
    )  # fmt: skip
    _opened.append(llm)
    return llm


def greedy(llm: Any, count: int = 24) -> list[list[int]]:
    from vllm import SamplingParams

    how = SamplingParams(temperature=0, max_tokens=count, ignore_eos=True, detokenize=False)
    outputs = llm.generate([{"prompt_token_ids": ids} for ids in PROMPTS], how, use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs]


def model_of(llm: Any) -> torch.nn.Module:
    """The module of an engine in this process."""
    model = llm.llm_engine.collective_rpc("get_model")[0]
    assert isinstance(model, torch.nn.Module)
    return model


def checksums(llm: Any) -> dict[str, str]:
    """Of what the workers' models hold: vLLM's own (0.32), and what each layer that computes with a packed copy of its weight makes of one
    input, since vLLM's checksums leave those out."""
    merged: dict[str, str] = {}
    for one in llm.llm_engine.collective_rpc(checksums_of_worker):
        merged.update(one)
    return merged


def checksums_of_worker(worker: Any) -> dict[str, str]:
    model = worker.get_model()
    if hasattr(worker, "compute_weight_checksums"):
        sums = dict(worker.compute_weight_checksums())
    else:
        sums = {f"dp0:pp0:pcp0:tp{worker.rank}:{name}": sha256_of(one) for name, one in model.named_parameters()}
    for name, module in model.named_modules():
        compute = getattr(module, "cpu_linear", None)
        if getattr(compute, "__closure__", None):
            width = getattr(module, "input_size_per_partition", None) or module.embedding_dim
            given = (torch.arange(8 * width).remainder(251).sub(125).float() / 16).bfloat16().view(8, width)
            sums[f"tp{worker.rank}:{name} computes"] = sha256_of(compute(given, module.weight, None))
    return sums


def packs(llm: Any) -> bool:
    """Whether vLLM computes with packed copies of weights on this CPU (AVX-512 BF16 and AMX)."""
    return any(name.endswith(" computes") for name in checksums(llm))


def never_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that are opened now compute with their parameters, as vLLM does on CPUs without AVX-512."""
    from vllm import _custom_ops
    from vllm.model_executor.layers import utils

    monkeypatch.setattr(_custom_ops, "_supports_onednn", False)
    monkeypatch.setattr(utils, "check_cpu_sgl_kernel", lambda *_: False)


def sha256_of(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


class Models(NamedTuple):
    a: Path
    b: Path
    llm: Any  # in this process, started on a
    tokens_a: list[list[int]]
    tokens_b: list[list[int]]  # of a fresh engine
    sums_a: dict[str, str]
    sums_b: dict[str, str]


def attach(client: Any, folder: Path, **more: Any) -> None:
    client.init_weight_transfer_engine({"control": f"dir:{folder}", "socket_directory": str(folder / "sockets"), "deadline": 20, **more})


def detach(llm: Any) -> None:
    """Ends what a test left open; before 0.32 vLLM calls that itself, when the worker ends."""
    if hasattr(llm, "shutdown_weight_transfer_engine"):
        llm.shutdown_weight_transfer_engine()
    else:
        worker_engine(llm).shutdown()


def restore(models: Models, client: Any, folder: Path) -> None:
    """Weights A again."""
    with wsync.Session.open(control=f"dir:{folder}/restore", socket_directory=str(folder / "sockets")) as session:
        weights = weights_of(models.a)
        with session.publisher("restore", source=weights) as publisher:
            client.init_weight_transfer_engine({"control": f"dir:{folder}/restore", "name": "restore", "socket_directory": str(folder / "sockets")})
            push(client, publisher.publish_from(weights, step=0).label)
            detach(models.llm)


def worker_engine(llm: Any) -> Any:
    """wsync's own object in the worker of an engine in this process."""
    return llm.llm_engine.collective_rpc(lambda worker: worker.weight_transfer_engine)[0]


def holds_of(publisher: wsync.Publisher, expected: int) -> int:
    """After at most 10 s for `expected`: a publisher hears a little later that a hold ended."""
    deadline = time.monotonic() + 10
    while publisher.holds != expected and time.monotonic() < deadline:
        time.sleep(0.01)
    return publisher.holds


def end_with_parent() -> None:
    """In a child, before exec: it ends when the test does, even if that is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """vLLM's own HTTP server on a free port; .url is up when the constructor returns."""

    def __init__(self, folder: Path, log: Path, *more: str, environment: Mapping[str, str] | None = None) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [
            sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--host", "127.0.0.1", "--port", str(port),
            "--enforce-eager", "--dtype", "bfloat16", "--max-model-len", "512", "--max-num-seqs", "8", "--block-size", str(BLOCK), "--skip-tokenizer-init",
            "--num-gpu-blocks-override", str(BLOCKS), "--enable-prefix-caching", "--weight-transfer-config", json.dumps({"backend": "wsync"}),
            "--middleware", "wsync.vllm.SaltByVersion",
            "--enable-scale-out",  # for /inference/v1/generate, whose answers have the versions of their tokens
            *more,
        ]  # fmt: skip
        self.log = log
        with log.open("w") as output:
            own = {**os.environ, "VLLM_SERVER_DEV_MODE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "1", **(environment or {})}
            self.process = subprocess.Popen(command, env=own, stdout=output, stderr=subprocess.STDOUT, preexec_fn=end_with_parent)
        deadline = time.monotonic() + 600
        while not self._healthy():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise RuntimeError(f"vLLM's server did not start:\n{log.read_text()[-4000:]}")
            time.sleep(0.2)

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return True
        except OSError:
            return False

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


class JsonClient:
    """Passes on what JSON can carry, so that nothing else is needed of a client."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.kv: str = inner.kv

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self.inner.init_weight_transfer_engine(json.loads(json.dumps(init_info)))

    def start_weight_update(self) -> None:
        self.inner.start_weight_update()

    def update_weights(self, update_info: Any) -> None:
        self.inner.update_weights(json.loads(json.dumps(update_info)))

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self.inner.finish_weight_update(weight_version)
