"""Small models, made on the spot, and vLLM engines on them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

os.environ.update(
    HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", VLLM_CPU_KVCACHE_SPACE="1", VLLM_LOGGING_LEVEL="ERROR", VLLM_CONFIGURE_LOGGING="1", TOKENIZERS_PARALLELISM="false"
)  # fmt: skip

import torch
import transformers

PROMPTS = [[(7 * i + 3) % 500 + 3 for i in range(200)], [5, 400, 32, 77, 9]]  # the first: more than four full blocks of the prefix cache
BLOCK = 32


def make_model(folder: Path, seed: int, **changes: Any) -> Path:
    """A checkpoint of a Llama of 2 million parameters whose greedy output depends on its weights."""
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


def open_llm(folder: Path, **changes: Any) -> Any:
    from vllm import LLM

    return LLM(
        str(folder),
        **{
            "enforce_eager": True, "dtype": "bfloat16", "max_model_len": 512, "max_num_seqs": 4, "skip_tokenizer_init": True, "block_size": BLOCK,
            "enable_prefix_caching": True, "seed": 0, "weight_transfer_config": {"backend": "wsync"}, **changes,
        },
    )  # fmt: skip


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
    """The engine's own, of what its model holds; all ranks'."""
    merged: dict[str, str] = {}
    for one in llm.llm_engine.collective_rpc("compute_weight_checksums"):
        merged.update(one)
    return merged


class Server:
    """vLLM's own HTTP server on a free port; .url is up when the constructor returns."""

    def __init__(self, folder: Path, log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        command = [
            sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--host", "127.0.0.1", "--port", str(self.port),
            "--enforce-eager", "--dtype", "bfloat16", "--max-model-len", "512", "--max-num-seqs", "8", "--block-size", str(BLOCK), "--skip-tokenizer-init",
            "--enable-prefix-caching", "--weight-transfer-config", json.dumps({"backend": "wsync"}),
        ]  # fmt: skip
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(command, env={**os.environ, "VLLM_SERVER_DEV_MODE": "1"}, stdout=output, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 180
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
        self.process.wait(60)


class JsonClient:
    """Passes on what JSON can carry, so that nothing else is needed of a client."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self.inner.init_weight_transfer_engine(json.loads(json.dumps(init_info)))

    def start_weight_update(self) -> None:
        self.inner.start_weight_update()

    def update_weights(self, update_info: Any) -> None:
        self.inner.update_weights(json.loads(json.dumps(update_info)))

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self.inner.finish_weight_update(weight_version)
