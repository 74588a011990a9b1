"""Ctrl-C in the midst of every verb that moves weights: one line, 128 + the signal, and nothing stays.

Usage: interrupt_test.py PATH-OF-WSYNC
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


def wait_until(true):
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come to that")
        time.sleep(0.005)


def children_of(pid):
    """Also their children; fleets are forked from the tool's own process."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(entry))
    return found


class InterruptTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="wsync-e2e-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.control = "dir:" + self.path("control")
        self.places = {place: set(self.named(place)) for place in ("/tmp", "/dev/shm", self.sockets())}

    def path(self, name):
        return os.path.join(self.folder, name)

    def sockets(self):
        return f"/tmp/wsync-{os.getuid()}"

    def named(self, place):
        try:
            return [name for name in os.listdir(place) if "wsync" in name or place == self.sockets()]
        except FileNotFoundError:
            return []

    def start(self, *arguments):
        process = subprocess.Popen([WSYNC, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder, start_new_session=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def synth(self, size):
        self.assertEqual(subprocess.run([WSYNC, "synth", "--model", size, "--out", self.path("a")], capture_output=True, timeout=PATIENCE).returncode, 0)

    def publish(self, *more):
        process = self.start("publish", self.path("a"), "--name", "policy", "--control", self.control, "--json", *more)
        return process, json.loads(process.stdout.readline())

    def interrupt(self, process, number=signal.SIGINT):
        """To the whole group, as a terminal does it."""
        members = children_of(process.pid)
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 128 + number, err)
        self.assertEqual(len(err.splitlines()), 1, err)
        self.assertIn("interrupted", err)
        for member in members:
            self.assertFalse(os.path.exists(f"/proc/{member}"), f"process {member} stayed")
        return out

    def expect_nothing_left(self, *allowed):
        for place, before in self.places.items():
            # Whoever runs beside us has names of his own; ours go with us.
            ours = [name for name in set(self.named(place)) - before if os.path.basename(self.folder) != name]
            ours = [name for name in ours if not name.startswith(("wsync-test-", "wsync-e2e-"))]
            self.assertEqual(ours, [], place)
        self.assertEqual(sorted(os.listdir(self.folder)), sorted(allowed))

    def pull_in_mid_transfer(self, *more):
        process = self.start("pull", "policy", "--control", self.control, "--rate", "3000000", "--threads", "1", "--transport", "shm", *more)
        wait_until(lambda: self.moving(process.pid))
        return process

    def moving(self, pid):
        """It is linked to the publisher and has mapped its slab."""
        try:
            with open(f"/proc/{pid}/maps") as file:
                return "memfd:wsync" in file.read()
        except OSError:
            return False

    def has_caught(self, pid):
        """It has set its handler: before that, a signal simply ends it."""
        with open(f"/proc/{pid}/status") as file:
            caught = [line for line in file if line.startswith("SigCgt")]
        return bool(int(caught[0].split()[1], 16) & 1 << (signal.SIGINT - 1))

    def test_pull(self):
        self.synth("0.02GB")
        publisher, _ = self.publish()
        for number in (signal.SIGINT, signal.SIGTERM):
            self.interrupt(self.pull_in_mid_transfer("--out", self.path("out")), number)
            self.assertEqual(sorted(os.listdir(self.folder)), ["a", "control"])
        self.interrupt(self.pull_in_mid_transfer("--hold"))
        # What an interrupted pull was asked to keep is what the next one goes on from.
        self.interrupt(self.pull_in_mid_transfer("--out", self.path("out"), "--partial"))
        self.assertEqual(sorted(os.listdir(self.folder)), [".out.wsync-partial", "a", "control"])
        done = subprocess.run([WSYNC, "pull", "policy", "--control", self.control, "--out", self.path("out")], capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)
        # The publisher is not bothered; being told to stop is how it ends.
        publisher.send_signal(signal.SIGINT)
        self.assertEqual(publisher.wait(PATIENCE), 0)
        self.expect_nothing_left("a", "control", "out")

    def test_pull_that_waits_for_a_version(self):
        process = self.start("pull", "policy", "--control", self.control, "--out", self.path("out"), "--timeout", "1000")
        wait_until(lambda: os.path.exists(self.path("control")) and self.has_caught(process.pid))
        self.interrupt(process)
        self.expect_nothing_left("control")

    def test_publish_that_waits_for_a_holder(self):
        self.synth("0.02GB")
        process, _ = self.publish("--watch")
        holder = self.pull_in_mid_transfer("--hold")
        # Two more versions: for the second one it needs the slab that the slow pull holds.
        weights = self.path("a/model.safetensors")
        os.utime(weights, (1, 1))
        json.loads(process.stdout.readline())
        os.utime(weights, (2, 2))
        time.sleep(1.5)  # it looks ten times a second
        self.interrupt(process)
        holder.kill()
        holder.wait()
        self.assertEqual(sorted(os.listdir(self.folder)), ["a", "control"])

    def test_synth(self):
        for written in (False, True):
            process = self.start("synth", "--model", "1GB", "--out", self.path("big"))
            if written:
                wait_until(lambda: os.path.exists(self.path("big.wsync-stage")))
            else:
                wait_until(lambda: self.has_caught(process.pid))
            self.interrupt(process)
            self.expect_nothing_left()

    def test_bench_and_demo(self):
        for arguments in (["bench", "--model", "0.3GB", "--dir", self.folder], ["demo", "--model", "0.3GB", "--dir", self.folder]):
            for children in (1, 2):
                process = self.start(*arguments)
                wait_until(lambda: len(children_of(process.pid)) >= children)
                self.interrupt(process)
                self.expect_nothing_left()

    def test_explain_and_tutorial(self):
        for arguments in (["explain", "ipc", "--model", "0.2GB"], ["explain", "fsdp", "--model", "0.05GB", "--hold", "20"], ["tutorial"]):
            for children in (1, 2):
                process = self.start(*arguments)
                wait_until(lambda: len(children_of(process.pid)) >= children)
                self.interrupt(process)
                self.expect_nothing_left()


if __name__ == "__main__":
    WSYNC = os.path.abspath(sys.argv.pop(1))
    unittest.main()
