"""What a handle is, shown with two processes' own tensors: `python -m wsync explain ipc`."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch

from .. import _session
from .._error import Error
from ._publisher import publisher
from ._views import tensors

_ROWS, _COLUMNS = 1024, 2048


@dataclass(frozen=True)
class _Seen:
    """One process's tensor object, and the memory behind it."""

    process: int
    object_at: int  # Python's own object
    address: int  # of the first element, in this process
    memory: str  # the kernel's name of the object that is mapped there: device:inode, and the offset in it
    first: list[float]


def _look(tensor: torch.Tensor) -> _Seen:
    address = tensor.data_ptr()
    memory = "?"
    with open("/proc/self/maps") as maps:
        for line in maps:
            reach, _, offset, device, inode, *_ = line.split()
            begin, end = (int(part, 16) for part in reach.split("-"))
            if begin <= address < end:
                memory = f"{device}:{inode} + {int(offset, 16) + address - begin:#x}"
    return _Seen(os.getpid(), id(tensor), address, memory, tensor.flatten()[:4].tolist())


def _engine(folder: str, trainer: Connection) -> None:
    """Maps the version, makes its own tensor object, and looks at it whenever it is asked."""
    with _session.Session.open(control=f"dir:{folder}", socket_directory=folder + "/sockets") as session:
        receiver = session.receiver("explain", id="the engine", use="map_then_install")
        staged = receiver.stage(deadline=30)
        weight = tensors(staged.tensors())["weight"]
        trainer.send((_look(weight), staged.report.bytes_moved))
        while trainer.recv():
            trainer.send(_look(weight))


def ipc() -> str:
    """Runs the two and gives the text. Error where a session can't be opened here."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    with tempfile.TemporaryDirectory(prefix="wsync-") as folder:
        engine = context.Process(target=_engine, args=(folder, theirs))
        with _session.Session.open(control=f"dir:{folder}", socket_directory=folder + "/sockets") as session:
            module = torch.nn.Linear(_COLUMNS, _ROWS, bias=False, dtype=torch.bfloat16)
            with publisher(session, "explain", module, slabs=1) as trainer:
                trainer.adopt()
                with torch.no_grad():
                    module.weight.fill_(1.0)
                trainer.publish(step=1)
                engine.start()
                try:
                    theirs.close()
                    return _tell(module, trainer.publisher, mine)
                finally:
                    mine.send(False)
                    engine.join(30)


def _tell(module: torch.nn.Linear, trainer: _session.Publisher, engine: Connection) -> str:
    here = _look(module.weight)
    there, moved = engine.recv()
    try:
        trainer.begin_write(deadline=0.2)
        refused = "nothing: the slab was free"
    except Error as error:
        refused = f"{error.code}: {error.message}"
    # What the engine is not to be put through: its hold is taken away, and the memory that it reads is written.
    with trainer.begin_write(deadline=0, revoke=True), torch.no_grad():
        module.weight.fill_(7.0)
        engine.send(True)
        after = engine.recv()
    rows = [
        ("", "trainer", "engine", ""),
        ("process", here.process, there.process, "two"),
        ("tensor object", f"{here.object_at:#x}", f"{there.object_at:#x}", "each process has its own"),
        ("data_ptr()", f"{here.address:#x}", f"{there.address:#x}", "where it lies in each"),
        ("memory", here.memory, there.memory, "the same" if here.memory == there.memory else "NOT THE SAME"),
        ("first elements", here.first, there.first, f"{module.weight.nbytes} bytes mapped; {moved} bytes were sent: what describes them"),
        ("trainer fills 7", _look(module.weight).first, after.first, "the engine's tensor shows it; nothing was sent" if after.first == [7.0] * 4 else "NOT SEEN"),
    ]
    width = [max(len(str(row[column])) for row in rows) for column in range(3)]
    table = "\n".join("  ".join(str(cell).ljust(size) for cell, size in zip(row, [*width, 0], strict=True)).rstrip() for row in rows)
    return (
        f"one parameter, two processes: torch {torch.__version__}\n\n{table}\n\n"
        f"what keeps a served weight from changing\n  The same write was refused before: {refused}\n"
        "  It went through when the hold was revoked; a receiver whose hold was revoked is told so.\n"
        "\nOf all tensors of a model and of how long it takes: wsync explain ipc"
    )
