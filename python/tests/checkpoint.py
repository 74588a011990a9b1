"""A small checkpoint of each step, of arrays, and whether it arrived."""

from __future__ import annotations

from typing import Any

import numpy as np

import wsync


def weights(step: int) -> dict[str, Any]:
    random = np.random.default_rng(step)
    return {
        "embed.weight": random.standard_normal((1000, 64), dtype=np.float32),
        "layers.0.weight": random.integers(0, 255, (64, 64), dtype=np.uint8),
        "norm.weight": random.standard_normal(64).astype(np.float16),
        "scalar": np.array(step, dtype=np.int64),
    }


def same(views: wsync.Tensors, expected: dict[str, Any]) -> bool:
    return views.keys() == expected.keys() and all(np.array_equal(np.asarray(views[name]), value) for name, value in expected.items())
