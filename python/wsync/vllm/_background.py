"""A thread beside the one that vLLM calls, which gives way to it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable

import torch

from ._install import let_go
from ._sign import Sign

NICENESS = 5


class Background:
    """Does one thing, with the sign up while it does; what it raises is raised by join()."""

    def __init__(self, act: Callable[[], None], label: str, sign: Sign) -> None:
        self.label = label
        self._sign = sign
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(act,), name=f"wsync {label}", daemon=True)
        sign.show()
        self._thread.start()

    def join(self) -> None:
        self._thread.join()
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem

    def ended(self, within: float) -> bool:
        self._thread.join(within)
        return not self._thread.is_alive()

    def _run(self, act: Callable[[], None]) -> None:
        _give_way()
        try:
            act()
        except BaseException as why:
            let_go(why)
            self._problem = why
        finally:
            self._sign.hide()


def _give_way() -> None:
    """Less priority than the engine's threads, any of the host's CPUs that the engine may use (vLLM binds its own threads to some, which
    threads that are started by them inherit), and one thread for what OpenMP would share out among those that are bound."""
    own = threading.get_native_id()
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, own, NICENESS)
        os.sched_setaffinity(own, os.sched_getaffinity(os.getppid()))
    torch.get_num_threads()  # torch sets OpenMP's count at a thread's first use of it
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).omp_set_num_threads(1)
