"""bench/refit: every way brings a step's bytes to the receiver, and one that brings others is found out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parent.parent.parent / "bench/refit"
sys.path.append(str(FOLDER))

import run as refit  # noqa: E402
from model import Drawn, bytes_of, specs_of  # noqa: E402

PEERS = {way for way in refit.WAYS if not way.startswith("wsync.")}


def measured(folder: Path) -> Any:
    command = [sys.executable, str(FOLDER / "run.py"), "--model", "tiny", "--rounds", "1", "--dir", str(folder), "--output", str(folder / "refit.json"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found == json.loads((folder / "refit.json").read_text())
    return found


def test_every_way_moves_what_the_step_left(tmp_path: Path) -> None:
    found = measured(tmp_path)
    assert found["schema"] == refit.SCHEMA
    size = bytes_of(specs_of("tiny"))
    assert found["model"] == {"name": "tiny", "bytes": size, "tensors": 26}
    assert found["ways"].keys() == {"wsync.live", "wsync.snapshot"} | PEERS
    for way, one in found["ways"].items():
        assert len(one["seconds"]) == len(one["trainer_seconds"]) == 1, way
        assert one["seconds"][0] > 0, way
    for way in ("wsync.live", "wsync.snapshot"):
        ours = found["ways"][way]
        assert (ours["verification"], ours["transport"]) == ("content", "shm")
        assert 0 < ours["steady_seconds"][0] < ours["seconds"][0]
        assert ours["stages"][0]["move"] > 0
        assert found["ratios"][way].keys() == PEERS
    assert found["ways"]["wsync.live"]["kept_bytes"] == {}, "the parameters lie in the slab, and nothing else is kept"
    assert found["ways"]["wsync.snapshot"]["kept_bytes"].keys() == {"trainer slab", "trainer spare slab"}
    assert sum(found["ways"]["wsync.snapshot"]["kept_bytes"].values()) >= size, "two slabs of half the model"
    assert found["limits"]["M2"]["median"] > 0
    assert len(found["bars"]) == 3


def test_other_bytes_than_the_steps_are_named() -> None:
    drawn = Drawn(specs_of("tiny"))
    tensors = {name: drawn.whole(i, 3).clone() for i, (name, _) in enumerate(drawn.specs)}
    drawn.check(tensors, 3)
    tensors["model.norm.weight"][5] += 1
    with pytest.raises(ValueError, match=r"model\.norm\.weight"):
        drawn.check(tensors, 3)
    with pytest.raises(ValueError, match=r"model\.embed_tokens\.weight"):
        drawn.check(tensors, 4)
    del tensors["model.norm.weight"]
    with pytest.raises(ValueError, match="not the model's"):
        drawn.check(tensors, 3)


def test_a_model_that_ranks_cannot_share_evenly_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "run.py"), "--model", "tiny", "--ranks", "3", "--dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert "share evenly" in done.stderr
