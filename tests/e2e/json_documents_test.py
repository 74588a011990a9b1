"""The JSON document of every verb has the fields of tests/golden/json, with their types.

Usage: json_documents_test.py PATH-OF-WSYNC
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

WSYNC = ""
GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden" / "json"


def type_of(value):
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return {int: "integer", float: "number", str: "string", list: "array", dict: "object"}[type(value)]


def mismatches(shape, value, where="document"):
    """What keeps the value from having the shape; see golden/json/README.md."""
    if isinstance(shape, str):
        if shape.startswith("wsync."):
            return [] if value == shape else [f"{where} is {value!r}, not {shape!r}"]
        wanted, found = shape.rstrip("?").split("|"), type_of(value)
        return [] if found in wanted or (found == "integer" and "number" in wanted) else [f"{where} is {found}, not {shape}"]
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{where} is {type_of(value)}, not an array"]
        return [m for i, item in enumerate(value) for m in mismatches(shape[0], item, f"{where}[{i}]")]
    if not isinstance(value, dict):
        return [] if value is None and shape.get("?") else [f"{where} is {type_of(value)}, not an object"]
    if "*" in shape:
        return [m for key, item in value.items() for m in mismatches(shape["*"], item, f"{where}.{key}")]
    found = []
    for key, part in shape.items():
        optional = (isinstance(part, str) and part.endswith("?")) or (isinstance(part, dict) and part.get("?"))
        if key == "?" or (optional and key not in value):
            continue
        found += mismatches(part, value[key], f"{where}.{key}") if key in value else [f"{where} has no {key}"]
    return found


class Documents(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="wsync-e2e-")
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def has_shape(self, schema, text, **wanted):
        document = json.loads(text)
        shape = json.loads((GOLDEN / f"{schema}-1.json").read_text())
        self.assertEqual(mismatches(shape, document), [], text[:2000])
        for key, value in wanted.items():
            self.assertEqual(document[key], value)
        return document

    def run_verb(self, *arguments):
        done = subprocess.run([WSYNC, *arguments], capture_output=True, text=True, timeout=100, check=False)
        self.assertEqual(done.returncode, 0, (arguments, done.stderr))
        return done.stdout

    def test_files_and_syncs(self):
        synth = self.has_shape("synth", self.run_verb("synth", "--model", "0.002GB", "--out", self.path("a"), "--seed", "5", "--json"), seed=5)
        inspected = self.has_shape("inspect", self.run_verb("inspect", self.path("a"), "--json"), verified=None, bytes=synth["bytes"])
        self.assertEqual(len(inspected["tensors"]), synth["tensors"])
        self.assertIn("version", inspected)
        verified = self.has_shape("inspect", self.run_verb("inspect", self.path("a"), "--verify", "--json"))
        self.assertEqual(verified["verified"]["bytes"], synth["bytes"])
        plain = self.has_shape("inspect", self.run_verb("inspect", self.path("a/model.safetensors"), "--json"))
        self.assertNotIn("version", plain)

        control = "dir:" + self.path("control")
        publisher = subprocess.Popen([WSYNC, "publish", self.path("a"), "--name", "policy", "--control", control, "--json"], stdout=subprocess.PIPE, text=True)
        try:
            published = self.has_shape("publish", publisher.stdout.readline(), name="policy", bytes=synth["bytes"])
            pull = ("pull", "policy", "--control", control, "--out", self.path("b"), "--json")
            self.has_shape("pull", self.run_verb(*pull, "-n"), dry_run=True, unchanged=False)
            pulled = self.has_shape("pull", self.run_verb(*pull), unchanged=False, version=published["version"])
            self.assertEqual(pulled["report"]["bytes_needed"], synth["bytes"])
            self.has_shape("pull", self.run_verb(*pull), unchanged=True, bytes_written=0)
        finally:
            publisher.kill()
            publisher.wait()
            publisher.stdout.close()

    def test_measurements(self):
        self.has_shape("doctor", self.run_verb("doctor", "--json"))
        self.has_shape("limits", self.run_verb("bench", "limits", "--runs", "1", "--dir", self.folder, "--json"))
        some = self.has_shape("limits", self.run_verb("bench", "limits", "--limits", "D2,M2", "--runs", "1", "--dir", self.folder, "--json"))
        self.assertEqual(list(some["limits"]), ["D2", "M2"])
        bench = self.has_shape("bench", self.run_verb("bench", "--model", "0.01GB", "--runs", "1", "--dir", self.folder, "--json"))
        self.assertEqual(len(bench["methods"]), 4)
        self.has_shape("explain_ipc", self.run_verb("explain", "ipc", "--model", "0.01GB", "--json"), verified=True)
        self.has_shape("explain_fsdp", self.run_verb("explain", "fsdp", "--model", "0.01GB", "--ranks", "2", "--late", "0", "--hold", "0", "--json"), verified=True)
        text = self.run_verb("demo", "--model", "0.01GB", "--runs", "1", "--dir", self.folder, "--output", self.path("demo.json"), "--json")
        demo = self.has_shape("demo", text)
        for table in demo["tables"]:
            self.has_shape("bench", json.dumps(table))
        with open(self.path("demo.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file), demo)

    def test_the_comparison_can_fail(self):
        shape = {"a": "integer", "b": ["string"], "c": {"*": "number"}, "d": "string?", "e": {"?": True, "f": "boolean"}}
        good = {"a": 1, "b": ["x"], "c": {"k": 1}, "new": 3}
        self.assertEqual(mismatches(shape, good), [])
        for change in ({"a": "1"}, {"a": True}, {"b": [1]}, {"c": {"k": "v"}}, {"c": 5}, {"d": 4}, {"e": {}}, {"e": {"f": 0}}):
            self.assertNotEqual(mismatches(shape, good | change), [], change)
        del good["a"]
        self.assertEqual(mismatches(shape, good), ["document has no a"])


if __name__ == "__main__":
    WSYNC = sys.argv.pop(1)
    unittest.main()
