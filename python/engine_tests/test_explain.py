"""`python -m wsync explain ipc`: two tensor objects, one memory, a write seen."""

from __future__ import annotations

import subprocess
import sys


def test_a_write_is_seen_in_the_other_process() -> None:
    done = subprocess.run([sys.executable, "-m", "wsync", "explain", "ipc"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split("  ")[0]: line for line in done.stdout.splitlines()}
    assert rows["memory"].endswith("the same")
    assert rows["trainer fills 7"].count("[7.0, 7.0, 7.0, 7.0]") == 2
    assert "timed_out" in done.stdout
    assert "the engine" in done.stdout
