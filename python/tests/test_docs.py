"""The example of docs/python.md, as it stands there: two processes, two blocks of code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"


def test_five_lines(folder: Path) -> None:
    trainer, engine = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[:2]
    given = "parameters = {'embed.weight': bytearray(b'weights!'), 'norm.weight': b'n'}\n"
    trainer = given + trainer + "\nprint('ready', flush=True); input()\n"
    engine += "\nassert report.step == 1, report\nassert {name: bytes(memoryview(view)) for name, view in weights.items()} == "
    engine += "{'embed.weight': b'weights!', 'norm.weight': b'n'}\nprint('same')\n"
    trainer, engine = (code.replace("/run/policy", str(folder)) for code in (trainer, engine))
    publishing = subprocess.Popen([sys.executable, "-c", trainer], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert publishing.stdout is not None
        assert publishing.stdout.readline() == "ready\n"
        receiving = subprocess.run([sys.executable, "-c", engine], capture_output=True, text=True, timeout=60)
        assert (receiving.returncode, receiving.stdout) == (0, "same\n"), receiving.stderr
    finally:
        publishing.communicate("\n", timeout=30)
    assert publishing.returncode == 0
