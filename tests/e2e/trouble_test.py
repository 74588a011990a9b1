"""What the tool says and leaves when files change under it, may not grow, or nobody reads what it prints.

Usage: trouble_test.py PATH-OF-WSYNC
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
# Not what is measured: the end of all patience.
PATIENCE = 60


def wait_until(true, pause=0.005):
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come to that")
        time.sleep(pause)


class TroubleTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="wsync-e2e-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.control = "dir:" + self.path("control")

    def path(self, name):
        return os.path.join(self.folder, name)

    def synth(self, name, size, seed=1):
        done = subprocess.run([WSYNC, "synth", "--model", size, "--out", self.path(name), "--seed", str(seed)], capture_output=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)
        return os.path.join(self.path(name), "model.safetensors")

    def start(self, *arguments):
        process = subprocess.Popen([WSYNC, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def publish(self, path, *more):
        return self.start("publish", path, "--name", "policy", "--control", self.control, "--json", *more)

    def pulled(self, name, *more):
        done = subprocess.run([WSYNC, "pull", "policy", "--control", self.control, "--out", self.path(name), "--json", *more], capture_output=True, text=True,
                              timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(os.path.join(self.path(name), "model.safetensors"), "rb") as file:
            return json.loads(done.stdout.splitlines()[-1])["version"], file.read()

    def read(self, path):
        with open(path, "rb") as file:
            return file.read()

    def limited(self, kibibytes, *arguments):
        return subprocess.run(["bash", "-c", f'ulimit -f {kibibytes}; exec "$@"', "bash", WSYNC, *arguments], capture_output=True, text=True, timeout=PATIENCE)

    def expect_one_line(self, done, *words):
        self.assertEqual(done.returncode, 1, (done.returncode, done.stderr))
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_a_file_that_shrinks_while_it_is_served(self):
        weights = self.synth("a", "0.02GB")
        whole = self.read(weights)
        publisher = self.publish(weights, "--watch")
        first = json.loads(publisher.stdout.readline())["version"]
        os.truncate(weights, len(whole) // 2)
        # It looks at the file by itself, says what is wrong, and goes on serving what it had read.
        said = publisher.stderr.readline()
        for word in ("corrupt", weights, "it is truncated", "receivers keep what they have"):
            self.assertIn(word, said)
        for transport in ("shm", "tcp"):
            version, received = self.pulled(transport, "--transport", transport)
            self.assertEqual(version, first)
            self.assertTrue(received == whole, "the bytes of the whole file")
        # A file of another size that is nothing at all, then one that is whole again.
        with open(weights, "wb") as file:
            file.write(b"nothing of the kind")
        self.assertIn("corrupt", publisher.stderr.readline())
        self.assertEqual(self.pulled("shm")[0], first)
        os.replace(self.synth("b", "0.02GB", seed=2), weights)
        self.assertNotEqual(json.loads(publisher.stdout.readline())["version"], first)
        self.assertTrue(self.pulled("shm")[1] == self.read(weights))
        publisher.send_signal(signal.SIGINT)
        self.assertEqual(publisher.wait(PATIENCE), 0)

    def stopped_while_it_reads(self, weights):
        """A publisher that is stopped with the file open, after the header; None where it was too quick."""
        process = self.publish(weights)
        descriptors = f"/proc/{process.pid}/fd"
        while process.poll() is None:
            try:
                mapped = "memfd:wsync" in self.read(f"/proc/{process.pid}/maps").decode()
                opened = mapped and any(os.readlink(f"{descriptors}/{fd}") == weights for fd in os.listdir(descriptors))
            except OSError:
                continue
            if opened:
                process.send_signal(signal.SIGSTOP)
                wait_until(lambda: "\nState:\tT" in self.read(f"/proc/{process.pid}/status").decode())
                return process
        return None

    def test_a_file_that_changes_while_it_is_read(self):
        def shrink(path):
            os.truncate(path, os.path.getsize(path) // 2)

        def overwrite(path):
            with open(path, "r+b") as file:
                file.seek(-1000, os.SEEK_END)
                file.write(bytes(1000))

        def replace(path):
            os.replace(self.synth("other", "0.1GB", seed=3), path)
            shutil.rmtree(self.path("other"))

        for change, words in ((shrink, ["bytes"]), (overwrite, ["was written while it was read"]), (replace, ["was replaced while it was read"])):
            weights = self.synth("a", "0.1GB")
            size = os.path.getsize(weights)
            process = self.stopped_while_it_reads(weights)
            self.assertIsNotNone(process, "it ended before it had read")
            change(weights)
            process.send_signal(signal.SIGCONT)
            out, err = process.communicate(timeout=PATIENCE)
            self.assertEqual(process.returncode, 1, err)
            self.assertEqual(out, "", "nothing was published")
            self.assertEqual(len(err.splitlines()), 1, err)
            if change is shrink:
                words = words + [str(size), str(size // 2)]
            for word in [*words, "corrupt", weights]:
                self.assertIn(word, err)
            shutil.rmtree(self.path("a"))

    def test_no_file_may_be_that_large(self):
        self.expect_one_line(self.limited(100, "synth", "--model", "0.01GB", "--out", self.path("a")), "resource_exhausted", "ulimit -f")
        self.assertEqual(os.listdir(self.folder), [])
        weights = self.synth("a", "0.01GB")
        self.expect_one_line(self.limited(100, "publish", weights, "--name", "policy", "--control", self.control, "--for", "1"), "ulimit -f")
        publisher = self.publish(weights)
        publisher.stdout.readline()
        # Room for the control's small files, none for the weights.
        self.expect_one_line(self.limited(100, "pull", "policy", "--control", self.control, "--out", self.path("out")), "resource_exhausted")
        self.assertEqual(sorted(os.listdir(self.folder)), ["a", "control"])
        self.assertTrue(self.pulled("out")[1] == self.read(weights), "and the publisher took no harm")

    def test_nobody_reads_what_it_prints(self):
        for arguments in (["compare"], ["inspect", self.synth("a", "0.01GB"), "--json"], ["--help"]):
            reading, writing = os.pipe()
            os.close(reading)
            done = subprocess.run([WSYNC, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
            os.close(writing)
            self.expect_one_line(done, "standard output")


if __name__ == "__main__":
    WSYNC = os.path.abspath(sys.argv.pop(1))
    unittest.main()
