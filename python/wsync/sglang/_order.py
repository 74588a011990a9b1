"""What the controller tells the loaders, and what they answer: SGLang's request carries the one, a folder that both see the other."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch

from .._error import Error

FORMAT = 1
NAME = "__wsync__"  # of the only tensor that an order consists of


@dataclass(frozen=True)
class Order:
    """One call of the loader in each worker: `act` "stage" moves, verifies and checks; "install" hands it to the model."""

    act: str
    control: str
    name: str
    label: str
    call: str  # unique: names the answers
    answers: str  # a folder
    options: dict[str, Any] = field(default_factory=dict)  # of Follower
    deadline: float = 120.0
    format: int = FORMAT

    def serialized(self) -> str:
        """As update_weights_from_tensor wants its tensors, one entry for each rank: a list of one named tensor of bytes, pickled, base64."""
        written = io.BytesIO()
        pickle.Pickler(written, protocol=2).dump([(NAME, _Bytes(json.dumps(asdict(self)).encode()))])
        return base64.b64encode(written.getvalue()).decode()

    @classmethod
    def read(cls, tensors: list[tuple[str, torch.Tensor]]) -> Self:
        if len(tensors) != 1 or tensors[0][0] != NAME:
            raise Error("invalid_argument", "this loader takes orders of wsync.sglang.Controller, not tensors")
        said = json.loads(bytes(tensors[0][1].cpu().to(torch.uint8).numpy().tobytes()))
        if said.get("format", 0) > FORMAT:
            raise Error("unsupported", f"the controller's wsync speaks format {said['format']}, this worker {FORMAT}: install the same release on both")
        return cls(**said)


class _Bytes:
    """Pickled as a call of torch.ByteTensor, which is on SGLang's list of what may be unpickled, and needs no shared memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> tuple[Any, tuple[list[int]]]:
        return torch.ByteTensor, (list(self.data),)


@dataclass(frozen=True)
class Answer:
    """Of one worker to one order."""

    rank: int
    code: str  # "": it did what it was told
    message: str
    metrics: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path, call: str) -> None:
        """Whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{call}.{self.rank}.json"
        making = file.with_suffix(f".{os.getpid()}.making")
        making.write_text(json.dumps(asdict(self)))
        making.rename(file)


def answers(folder: Path, call: str) -> list[Answer]:
    """Those that are there, by rank."""
    found = [Answer(**json.loads(file.read_text())) for file in folder.glob(f"{call}.*.json")]
    return sorted(found, key=lambda one: one.rank)


def answers_folder(control: str) -> Path:
    """In the control folder: who sees that sees the answers."""
    kind, _, path = control.partition(":")
    if kind != "dir":
        raise Error("unsupported", f'control is "{control}": SGLang\'s workers are other processes, give "dir:FOLDER"')
    return Path(path) / "answers"
