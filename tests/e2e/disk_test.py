"""Outputs on full disks and in forbidden places: one clear line, exit 1, what was there stays, nothing is left over.

Usage: disk_test.py PATH-OF-WSYNC. Small disks are mounted in mount namespaces of their own; where that is forbidden, the tests of full disks fail
and say so.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

WSYNC = ""
NOBODY = 65534


def run(*arguments, **options):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=100, **options)


class DiskTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="wsync-e2e-")
        self.addCleanup(shutil.rmtree, self.folder)
        os.chmod(self.folder, 0o755)
        self.control = "dir:" + self.path("control")

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def synth(self, name, seed=1):
        done = run(WSYNC, "synth", "--model", "0.02GB", "--seed", str(seed), "--out", self.path(name))
        self.assertEqual(done.returncode, 0, done.stderr)

    def publish(self, path, name):
        process = subprocess.Popen([WSYNC, "publish", path, "--name", name, "--control", self.control, "--json"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return json.loads(process.stdout.readline())["version"]

    def pull(self, name, out):
        return [WSYNC, "pull", name, "--control", self.control, "--out", out, "--timeout", "20"]

    # Runs a shell script where `small` is a disk of so many megabytes of its own. Its words: what stands in small at the end.
    def on_a_small_disk(self, megabytes, script, *arguments):
        small = self.path("small")
        os.makedirs(small, exist_ok=True)
        whole = f'set -e; mount -t tmpfs -o size={megabytes}m,mode=0755 small "$SMALL"; set +e; {script}'
        namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
        return run(*namespace, "sh", "-c", whole, "sh", *arguments, env={**os.environ, "SMALL": small})

    def assert_refused(self, done, *words):
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_pull_to_a_full_disk(self):
        self.synth("a")
        self.publish(self.path("a"), "policy")
        script = '"$@"; code=$?; ls -A "$SMALL"; exit $code'
        # No room for what is received; room for that, but not for the version that is made of it.
        for megabytes in (10, 30):
            done = self.on_a_small_disk(megabytes, script, *self.pull("policy", self.path("small", "out")))
            self.assert_refused(done, "resource_exhausted", self.path("small"), "bytes) are needed", "bytes) are free", "free space, or choose another directory")
            self.assertEqual(done.stdout, "")
        done = self.on_a_small_disk(50, script, *self.pull("policy", self.path("small", "out")))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.splitlines()[-1], "out")

    def test_a_full_disk_keeps_the_old_output(self):
        self.synth("a", 1)
        self.synth("b", 2)
        old = self.publish(self.path("a"), "old")
        self.publish(self.path("b"), "new")
        out = self.path("small", "out")
        script = f'"{WSYNC}" pull old --control {self.control} --out {out} >/dev/null || exit 9; "$@"; code=$?; ls -A "$SMALL"; "{WSYNC}" inspect {out} --verify --json; exit $code'
        done = self.on_a_small_disk(50, script, *self.pull("new", out))
        self.assert_refused(done, "resource_exhausted", self.path("small"))
        first, _, rest = done.stdout.partition("\n")
        self.assertEqual(first, "out")
        self.assertEqual(json.loads(rest)["version"], old)

    def test_a_disk_that_fills_while_a_pull_is_under_way(self):
        self.synth("a")
        self.publish(self.path("a"), "policy")
        # Room for both when it looks; somebody takes it while it receives.
        out, partial = self.path("small", "out"), self.path("small", ".out.wsync-partial")
        script = (f'"$@" --rate 15000000 --threads 1 & pull=$!; while kill -0 $pull 2>/dev/null && ! [ -e {partial} ]; do sleep 0.01; done; '
                  f'dd if=/dev/zero of="$SMALL/filler" bs=1M 2>/dev/null; wait $pull; code=$?; ls -A "$SMALL"; exit $code')
        done = self.on_a_small_disk(50, script, *self.pull("policy", out))
        self.assert_refused(done, "resource_exhausted", self.path("small"))
        self.assertEqual(done.stdout.split(), ["filler"])

    def test_synth_and_bench_on_a_full_disk(self):
        script = '"$@"; code=$?; ls -A "$SMALL"; exit $code'
        small = self.path("small")
        for arguments in (["synth", "--model", "0.02GB", "--out", self.path("small", "x")], ["bench", "--model", "0.02GB", "--runs", "1", "--dir", small],
                          ["demo", "--json", "--model", "0.02GB", "--runs", "1", "--dir", small], ["bench", "limits", "--dir", small]):
            done = self.on_a_small_disk(10, script, WSYNC, *arguments)
            self.assert_refused(done, "resource_exhausted", small, "free")
            self.assertEqual(done.stdout, "", arguments)

    def test_publish_with_a_full_control_folder(self):
        self.synth("a")
        control = self.path("small", "control")
        script = f'mkdir {control}; dd if=/dev/zero of="$SMALL/filler" bs=4k 2>/dev/null; "$@"; code=$?; find "$SMALL" -type f -not -path "*/locks/*"; exit $code'
        done = self.on_a_small_disk(1, script, WSYNC, "publish", self.path("a"), "--name", "policy", "--control", "dir:" + control, "--for", "5")
        self.assert_refused(done, "resource_exhausted", control)
        self.assertEqual(done.stdout.split(), [self.path("small", "filler")])

    # Root may do everything: these are nobody, and `theirs` is closed to them.
    def forbidden(self):
        theirs = self.path("theirs")
        os.makedirs(theirs, exist_ok=True)
        os.chmod(theirs, 0o555)
        self.addCleanup(os.chmod, theirs, 0o755)
        return theirs

    def as_nobody(self, *arguments):
        if os.geteuid() != 0:
            return run(*arguments, cwd="/")
        tool = self.path("wsync")  # where nobody may run it
        if not os.path.exists(tool):
            shutil.copy(WSYNC, tool)
        return run(*[tool if argument == WSYNC else argument for argument in arguments], cwd="/", user=NOBODY, group=NOBODY, extra_groups=[])

    def test_forbidden_directories(self):
        self.synth("a")
        self.publish(self.path("a"), "policy")
        theirs = self.forbidden()
        for arguments in (self.pull("policy", theirs + "/out"), [WSYNC, "synth", "--model", "0.02GB", "--out", theirs + "/x"],
                          [WSYNC, "bench", "--model", "0.02GB", "--runs", "1", "--dir", theirs], [WSYNC, "bench", "limits", "--dir", theirs],
                          [WSYNC, "publish", self.path("a"), "--name", "other", "--control", "dir:" + theirs + "/control", "--for", "5"]):
            done = self.as_nobody(*arguments)
            self.assert_refused(done, theirs, "ermission denied")
            self.assertEqual(os.listdir(theirs), [], arguments)

    def test_a_forbidden_directory_keeps_the_old_output(self):
        self.synth("a", 1)
        self.synth("b", 2)
        self.publish(self.path("b"), "policy")
        theirs = self.forbidden()
        os.chmod(theirs, 0o755)
        shutil.copytree(self.path("a"), theirs + "/out")
        os.chmod(theirs, 0o555)
        done = self.as_nobody(*self.pull("policy", theirs + "/out"))
        self.assert_refused(done, theirs, "ermission denied", "make it writable, or choose another directory")
        self.assertEqual(os.listdir(theirs), ["out"])
        self.assertEqual(run(WSYNC, "inspect", theirs + "/out", "--verify").returncode, 0)

    def test_a_read_only_disk(self):
        self.synth("a")
        self.publish(self.path("a"), "policy")
        script = 'mount -o remount,ro "$SMALL"; "$@"; code=$?; ls -A "$SMALL"; exit $code'
        for arguments in (self.pull("policy", self.path("small", "out")), [WSYNC, "synth", "--model", "0.02GB", "--out", self.path("small", "x")],
                          [WSYNC, "bench", "--model", "0.02GB", "--runs", "1", "--dir", self.path("small")]):
            done = self.on_a_small_disk(100, script, *arguments)
            self.assert_refused(done, self.path("small"), "ead-only file system")
            self.assertEqual(done.stdout, "")

    def test_a_directory_that_is_not_there(self):
        self.synth("a")
        self.publish(self.path("a"), "policy")
        for arguments in (self.pull("policy", self.path("no", "such", "out")), [WSYNC, "synth", "--model", "0.02GB", "--out", self.path("no", "x")],
                          [WSYNC, "bench", "--model", "0.02GB", "--runs", "1", "--dir", self.path("no")]):
            self.assert_refused(run(*arguments), "not_found", self.path("no"))
        self.assertFalse(os.path.exists(self.path("no")))

    def test_what_is_in_the_outputs_place(self):
        self.synth("a")
        self.publish(self.path("a"), "policy")
        # A checkpoint's own small files stay.
        out = self.path("out")
        os.mkdir(out)
        shutil.copy(self.path("a", "model.safetensors"), out)
        with open(os.path.join(out, "config.json"), "w") as file:
            file.write("{}")
        done = run(*self.pull("policy", out))
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(os.path.join(out, "config.json")) as file:
            self.assertEqual(file.read(), "{}")
        self.assertEqual(run(WSYNC, "inspect", out, "--verify").returncode, 0)
        # What is no checkpoint, or has more in it, is nobody's to replace.
        os.mkdir(self.path("home"))
        with open(self.path("home", "thesis.tex"), "w") as file:
            file.write("x")
        os.mkdir(os.path.join(out, "logs"))
        with open(self.path("file"), "w") as file:
            file.write("x")
        for place, word in ((self.path("home"), "holds no checkpoint"), (out, "holds the directory logs"), (self.path("file"), "no directory")):
            done = run(*self.pull("policy", place))
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(word, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1)
        self.assertTrue(os.path.exists(self.path("home", "thesis.tex")))
        self.assertTrue(os.path.exists(os.path.join(out, "logs")))
        self.assertEqual([name for name in os.listdir(self.folder) if "wsync" in name], [])


if __name__ == "__main__":
    WSYNC = sys.argv.pop(1)
    unittest.main()
