"""publish, pull, inspect, synth, doctor, bench and demo from the outside, between real processes.

Usage: sync_test.py PATH-OF-WSYNC
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

WSYNC = ""


def run(*arguments, **options):
    return subprocess.run([WSYNC, *arguments], capture_output=True, text=True, timeout=100, **options)


class SyncTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="wsync-e2e-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.control = "dir:" + self.path("control")
        self.assertEqual(run("synth", "--model", "0.02GB", "--out", self.path("a")).returncode, 0)

    def path(self, name):
        return os.path.join(self.folder, name)

    def publish(self, path, *more):
        process = subprocess.Popen([WSYNC, "publish", path, "--name", "policy", "--control", self.control, "--json", *more],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process, json.loads(process.stdout.readline())

    def pull(self, *more):
        done = run("pull", "policy", "--control", self.control, "--json", *more)
        return done, json.loads(done.stdout.splitlines()[-1]) if done.stdout else None

    def weights(self, name):
        with open(os.path.join(self.path(name), "model.safetensors"), "rb") as file:
            return file.read()

    def test_pull_moves_only_what_changed(self):
        publisher, first = self.publish(self.path("a"))
        for transport in ("shm", "tcp"):
            done, line = self.pull("--out", self.path(transport), "--transport", transport)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(line["version"], first["version"])
            self.assertEqual(line["report"]["transport"], transport)
            self.assertEqual(self.weights(transport), self.weights("a"))
            self.assertEqual(run("inspect", self.path(transport), "--verify").returncode, 0)
        done, line = self.pull("--out", self.path("shm"))
        self.assertTrue(line["unchanged"])
        publisher.send_signal(signal.SIGINT)
        self.assertEqual(publisher.wait(20), 0)

        # One byte of the weights changes: one block moves.
        shutil.copytree(self.path("a"), self.path("b"))
        changed = os.path.join(self.path("b"), "model.safetensors")
        with open(changed, "r+b") as file:
            file.seek(-5, os.SEEK_END)
            byte = file.read(1)
            file.seek(-5, os.SEEK_END)
            file.write(bytes([byte[0] ^ 1]))
        self.publish(changed)
        done, line = self.pull("--out", self.path("shm"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreater(line["report"]["blocks_reused"], 0)
        self.assertLess(line["report"]["bytes_moved"], 2 << 20)
        self.assertEqual(self.weights("shm"), self.weights("b"))
        self.assertEqual([name for name in os.listdir(self.folder) if "wsync" in name], [])

    def test_a_killed_pull_goes_on_where_it_was(self):
        self.publish(self.path("a"))
        slow = subprocess.Popen([WSYNC, "pull", "policy", "--control", self.control, "--out", self.path("out"), "--rate", "8000000", "--threads", "1"],
                                stdout=subprocess.DEVNULL)
        partial = self.path(".out.wsync-partial")
        deadline = time.monotonic() + 20
        while not os.path.exists(partial) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(1.0)
        slow.kill()
        slow.wait()
        self.assertTrue(os.path.exists(partial))
        self.assertFalse(os.path.exists(self.path("out")))
        done, line = self.pull("--out", self.path("out"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreater(line["report"]["blocks_reused"], 0)
        self.assertEqual(self.weights("out"), self.weights("a"))
        self.assertFalse(os.path.exists(partial))

    def test_errors_are_one_line(self):
        for arguments, code in ((["pull", "nobody", "--control", self.control, "--out", self.path("x"), "--timeout", "0.2"], 1),
                                (["pull", "policy"], 2), (["publish", self.path("nothing"), "--name", "x", "--control", self.control], 1),
                                (["publish", self.path("a"), "--name", "../x", "--control", self.control], 2),
                                (["inspect", "/etc/passwd"], 1), (["bench", "--model", "no-such-model"], 2), (["nonsense"], 2)):
            done = run(*arguments)
            self.assertEqual(done.returncode, code, (arguments, done.stderr))
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def test_every_verb_has_examples(self):
        for verb in ("bench", "compare", "demo", "doctor", "inspect", "publish", "pull", "synth", "timeline", "tutorial"):
            done = run(verb, "--help")
            self.assertEqual(done.returncode, 0)
            self.assertIn("Examples:", done.stdout)

    def test_a_damaged_version_is_seen(self):
        with open(os.path.join(self.path("a"), "model.safetensors"), "r+b") as file:
            file.seek(-9, os.SEEK_END)
            file.write(b"\xff\xfe")
        done = run("inspect", self.path("a"), "--verify")
        self.assertEqual(done.returncode, 1)
        self.assertIn("digest differs", done.stderr)

    def test_bench_and_demo(self):
        done = run("bench", "--model", "0.01GB", "--runs", "1", "--dir", self.folder, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        document = json.loads(done.stdout)
        self.assertEqual([method["id"] for method in document["methods"]], ["shm_map", "shm_copy", "tcp", "disk"])
        self.assertEqual([method["verified"] for method in document["methods"]], ["identity", "content", "content", "content"])
        done = run("bench", "--model", "0.01GB", "--runs", "2", "--trainers", "3", "--dir", self.folder, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([(method["id"], method["verified"]) for method in json.loads(done.stdout)["methods"]],
                         [("shm_copy", "content"), ("tcp", "content"), ("disk", "content")])
        done = run("bench", "--model", "0.01GB", "--trainers", "2", "--methods", "shm_map", "--dir", self.folder)
        self.assertEqual((done.returncode, "shm_map needs one trainer" in done.stderr), (2, True), done.stderr)
        done = run("demo", "--model", "0.01GB", "--runs", "1", "--dir", self.folder, "--output", self.path("demo.json"))
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(self.path("demo.json")) as file:
            faults = json.load(file)["faults"]
        self.assertEqual([fault["silent"] for fault in faults], [False, False, False])
        self.assertEqual(json.loads(run("doctor", "--json").stdout)["schema"], "wsync.doctor/1")


if __name__ == "__main__":
    WSYNC = sys.argv.pop(1)
    unittest.main()
