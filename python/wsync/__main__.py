"""`python -m wsync explain ipc`: what the command `wsync` can't show, since it takes Python and torch."""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    if arguments != ["explain", "ipc"]:
        print("python -m wsync explain ipc: two processes, two tensor objects, one memory. All else is the command `wsync`: wsync --help", file=sys.stderr)
        return 2
    try:
        from .torch import _explain
    except ModuleNotFoundError as absent:
        print(f"python -m wsync explain ipc needs {absent.name}: pip install torch numpy", file=sys.stderr)
        return 1
    print(_explain.ipc())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
