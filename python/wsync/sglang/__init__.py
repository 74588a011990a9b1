"""SGLang's weights by wsync: a custom weight loader for its workers, and a controller for the trainer's side.

    python -m sglang.launch_server ... --custom-weight-loader wsync.sglang.load_weights     # the engine
    Controller(["http://127.0.0.1:30000"], "dir:/run/policy").push(version.label)           # the trainer, after each publish

docs/sglang.md has the rest.
"""

from __future__ import annotations

from ._controller import Controller
from ._loader import load_weights

__all__ = ["Controller", "load_weights"]
