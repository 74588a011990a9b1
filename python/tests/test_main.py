from __future__ import annotations

import subprocess
import sys


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "wsync", *arguments], capture_output=True, text=True, timeout=60)


def test_what_python_alone_can_show_is_named() -> None:
    done = run("explain", "everything")
    assert (done.returncode, done.stdout) == (2, "")
    assert "python -m wsync explain ipc" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_torch_one_line_says_so() -> None:
    code = "import sys; sys.modules['torch'] = None; sys.argv = ['wsync', 'explain', 'ipc']; import runpy; runpy.run_module('wsync', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "needs torch" in done.stderr
    assert len(done.stderr.splitlines()) == 1
