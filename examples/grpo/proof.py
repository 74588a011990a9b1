"""That engine and trainer agree: the engine's own checksums beside those of the trainer's weights, as the engine arranges them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import torch

_PARTS = {"q_proj": "qkv_proj", "k_proj": "qkv_proj", "v_proj": "qkv_proj", "gate_proj": "gate_up_proj", "up_proj": "gate_up_proj"}


def expected_checksums(model: torch.nn.Module) -> dict[str, str]:
    """SHA-256 by the engine's names of a Llama's FP32 masters, rounded to BF16 by torch, q/k/v and gate/up joined as vLLM joins them."""
    digests: dict[str, hashlib._Hash] = {}
    for name, tensor in model.named_parameters():
        part = re.search(r"\.(\w+)\.weight$", name)
        joined = _PARTS.get(part[1]) if part else None
        if part and joined:
            name = name.replace(part[1], joined)  # parts come in the order in which they are joined
        own = tensor.detach().to(torch.bfloat16).contiguous().flatten().view(torch.uint8)
        digests.setdefault(name, hashlib.sha256()).update(memoryview(own.numpy()))
    return {name: digest.hexdigest() for name, digest in digests.items()}


def disagreements(trainer: Mapping[str, str], engine: Mapping[str, str]) -> list[str]:
    """Names of tensors that differ, or that one side lacks."""
    return sorted(name for name in trainer.keys() | engine.keys() if trainer.get(name) != engine.get(name))
