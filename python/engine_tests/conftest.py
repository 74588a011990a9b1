"""The fixtures of all tests, and one real vLLM for those here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import engines
import pytest
from control_folder import folder, session
from engines import Models

__all__ = ["client", "folder", "models", "session"]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """An engine on A, and what a fresh engine on B says of itself."""
    a, b = (engines.make_model(tmp_path_factory.mktemp("model"), seed) for seed in (1, 2))
    fresh = engines.open_llm(b)
    tokens_b, sums_b = engines.greedy(fresh), engines.checksums(fresh)
    llm = engines.open_llm(a)
    tokens_a, sums_a = engines.greedy(llm), engines.checksums(llm)
    assert tokens_a != tokens_b
    assert sums_a.keys() == sums_b.keys()
    weights = [name for name in sums_a if "norm" not in name and not name.endswith("_proj.weight")]
    assert len(weights) > 1 and all(sums_a[name] != sums_b[name] for name in weights)
    return Models(a, b, llm, tokens_a, tokens_b, sums_a, sums_b)


@pytest.fixture
def client(models: Models, folder: Path) -> Iterator[engines.JsonClient]:
    """Of the engine on weights A, which it has again afterwards."""
    from wsync.vllm import LLMClient

    made = engines.JsonClient(LLMClient(models.llm))
    assert engines.checksums(models.llm) == models.sums_a
    yield made
    engines.detach(models.llm)
    if engines.checksums(models.llm) != models.sums_a:
        engines.restore(models, made, folder)
    assert engines.checksums(models.llm) == models.sums_a
