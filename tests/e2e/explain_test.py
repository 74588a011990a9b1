"""explain ipc and explain fsdp from the outside: between real processes, every figure of the documents checked for sense.

Usage: explain_test.py PATH-OF-WSYNC
"""

import glob
import json
import os
import subprocess
import sys
import time
import unittest

WSYNC = ""


def run(*arguments):
    return subprocess.run([WSYNC, "explain", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=100)


def folders(what):
    return set(glob.glob(f"/tmp/wsync-{what}-*"))


def those_that_stay(found):
    """Folders of other tests, which run beside this one, go when those end."""
    end = time.monotonic() + 60
    while (found := {path for path in found if os.path.exists(path)}) and time.monotonic() < end:
        time.sleep(0.1)
    return found


class Case(unittest.TestCase):
    def good(self, *arguments):
        result = run(*arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stderr, "")
        return result.stdout

    def document(self, *arguments):
        return json.loads(self.good(*arguments, "--json"))

    def refused(self, *arguments, names=(), code=2):
        result = run(*arguments)
        self.assertEqual(result.returncode, code, (arguments, result.stdout, result.stderr))
        self.assertEqual(result.stdout, "")
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        for name in names:
            self.assertIn(name, result.stderr)


class Ipc(Case):
    def test_two_processes_see_one_page(self):
        found = self.document("ipc", "--model", "0.01GB", "--opens", "3", "--copies", "2")
        self.assertEqual(found["schema"], "wsync.explain_ipc/1")
        self.assertEqual(found["model"]["bytes"], 10000000)
        exporter, importer = found["exporter"], found["importer"]
        self.assertNotEqual(exporter["pid"], importer["pid"])
        self.assertNotEqual(exporter["address"], importer["address"])
        for same in ("device", "inode", "offset", "frame", "digest"):
            self.assertEqual(exporter[same], importer[same], same)
        self.assertGreater(exporter["inode"], 0)
        self.assertIn("memfd", exporter["object"])
        self.assertEqual(importer["permissions"], "r--s")
        for side in (exporter, importer):
            self.assertEqual(side["seals"], ["shrink", "grow", "future_write", "seal"])
        self.assertTrue(found["page"]["same_object"])
        self.assertIn(found["page"]["same_frame"], (True, None))
        self.assertEqual(found["page"]["written"], found["page"]["read"])
        self.assertEqual(len(found["page"]["written"]), 16)
        self.assertTrue(found["verified"])

    def test_holds_figures_and_limits(self):
        found = self.document("ipc", "--model", "64x48KiB", "--opens", "4", "--copies", "2")
        self.assertEqual(found["model"]["tensors"], 64)
        holds = found["holds"]
        self.assertEqual([holds["before"], holds["during"], holds["after"]], [0, 1, 0])
        self.assertIn("timed_out", holds["refused_write"])
        self.assertIn("the importer", holds["refused_write"])
        self.assertGreaterEqual(holds["refused_after_seconds"], 0.1)
        self.assertEqual(found["handle"]["handles"], 1)
        self.assertEqual(found["handle"]["kind"], "shared")
        self.assertLess(found["handle"]["bytes"], 4096)
        self.assertEqual(found["handle"]["slab_bytes"], found["copy"]["bytes"])
        self.assertEqual(found["bytes_moved"]["handle"], found["handle"]["bytes"])
        self.assertEqual(found["bytes_moved"]["weights"], 0)
        self.assertEqual(found["next_version"]["bytes_moved"], 0)
        self.assertTrue(found["next_version"]["same_address"])
        self.assertLess(found["next_version"]["importer_rss_anon_growth"], found["model"]["bytes"] / 2)
        for spread in (found["open_seconds"], found["copy"]["seconds"]):
            self.assertLessEqual(0, spread["min"])
            self.assertLessEqual(spread["min"], spread["median"])
            self.assertLessEqual(spread["median"], spread["max"])
        self.assertIn("unsupported", found["limits"]["other_host"])
        self.assertIn("peer_lost", found["limits"]["exporter_gone"])

    def test_text(self):
        text = self.good("ipc", "--model", "0.01GB", "--opens", "3", "--copies", "2")
        for words in ("device", "virtual address", "size and stride", "reference counter", "inode", "offset", "holds: 0 before, 1 while mapped, 0 after",
                      "they differ", "the same object", "every byte agrees", "~100 bytes", "~1 ms", "0 of 140 GB", "140 GB / 450 GB/s = 311 ms", "the same host",
                      "One handle for each GPU's slab"):
            self.assertIn(words, text)

    def test_nothing_stays_behind(self):
        before = folders("ipc")
        self.good("ipc", "--model", "0.001GB", "--opens", "1", "--copies", "1")
        self.assertEqual(those_that_stay(folders("ipc") - before), set())


class Fsdp(Case):
    def check(self, found, ranks, size):
        self.assertEqual(found["schema"], "wsync.explain_fsdp/1")
        self.assertEqual(found["model"]["bytes"], size)
        self.assertEqual(len(found["ranks"]), ranks)
        self.assertEqual(len({rank["pid"] for rank in found["ranks"]}), ranks)
        self.assertEqual(sum(rank["shard_bytes"] for rank in found["ranks"]), size)
        for rank in found["ranks"]:
            self.assertEqual(rank["gather"]["bytes_from_others"], size - rank["shard_bytes"])
            self.assertIn(rank["gather"]["verification"], ("content", "content_at_rest"))
            # Whole tensors beside the shards, and nothing without a gather.
            self.assertGreaterEqual(rank["memory"]["peak"]["ledger"] - rank["memory"]["before"]["ledger"], size)
            self.assertGreaterEqual(rank["memory"]["peak"]["rss_shmem"] - rank["memory"]["before"]["rss_shmem"], size)
            self.assertLess(rank["memory"]["extra_without_gather"], size / 10)
        self.assertEqual(found["handles"]["count"], ranks)
        self.assertEqual(found["handles"]["bytes"], sum(rank["handle_bytes"] for rank in found["ranks"]))
        self.assertLess(found["handles"]["bytes"], 4096 * ranks)
        # (N - 1) models by the gather and one by the load; one without a gather.
        self.assertEqual(found["gathered"]["bytes_moved"], ranks * size)
        self.assertEqual(found["direct"]["bytes_moved"], size)
        self.assertGreaterEqual(found["gathered"]["extra_bytes"], ranks * size)
        self.assertEqual(found["direct"]["verification"], "content_at_rest")
        for way in ("gathered", "direct"):
            self.assertGreater(found[way]["first_seconds"], 0)
            self.assertGreater(found[way]["seconds"], 0)
        self.assertTrue(found["verified"])

    def test_the_flow_as_it_is_drawn(self):
        found = self.document("fsdp", "--model", "12x64KiB", "--ranks", "3", "--late", "0.1", "--hold", "0.2")
        self.check(found, 3, 12 * 65536)
        self.assertEqual(found["layout"], "drawn")
        self.assertEqual([rank["shards"] for rank in found["ranks"]], [4, 4, 4])
        # Who waits for whom: all for the late rank, and every next gather for the engine's hold.
        self.assertEqual(found["coordination"]["late_rank"], 2)
        self.assertEqual(found["ranks"][2]["waited_seconds"]["for_the_slowest"], 0)
        self.assertGreater(found["ranks"][0]["waited_seconds"]["for_the_slowest"], 0)
        for rank in found["ranks"]:
            self.assertGreater(rank["waited_seconds"]["for_the_hold"], 0)
        self.assertIn("timed_out", found["lifetime"]["refused_write"])
        self.assertIn("the engine", found["lifetime"]["refused_write"])

    def test_fsdps_own_cut_over_tcp(self):
        found = self.document("fsdp", "--model", "0.005GB", "--ranks", "2", "--layout", "fsdp", "--transport", "tcp", "--late", "0", "--hold", "0")
        self.check(found, 2, 5000000)
        self.assertEqual([found["layout"], found["transport"]], ["fsdp", "tcp"])
        self.assertEqual(found["coordination"]["late_seconds"], 0)

    def test_one_rank_moves_nothing_into_itself(self):
        found = self.document("fsdp", "--model", "4x64KiB", "--ranks", "1", "--late", "0", "--hold", "0")
        self.check(found, 1, 4 * 65536)

    def test_text(self):
        text = self.good("fsdp", "--model", "0.005GB", "--ranks", "2", "--late", "0.05", "--hold", "0.05")
        for words in ("shard i on rank i mod N", "all-gather", "handles, to the coordinator", "reconstruct", "load", "Lifetimes.", "Memory.", "Coordination.",
                      "on purpose", "RssAnon", "shard to shard, by plan", "2 handles"):
            self.assertIn(words, text)

    def test_nothing_stays_behind(self):
        before = folders("fsdp")
        self.good("fsdp", "--model", "2x64KiB", "--ranks", "2", "--late", "0", "--hold", "0")
        self.assertEqual(those_that_stay(folders("fsdp") - before), set())

    def test_bad_use(self):
        self.refused("fsdp", "--ranks", "0", names=["--ranks"])
        self.refused("fsdp", "--ranks", "65", names=["--ranks"])
        self.refused("fsdp", "--ranks", "3", "--model", "2x64KiB", names=["2 tensors"])
        self.refused("fsdp", "--transport", "nccl", names=["shm", "tcp"])
        self.refused("fsdp", "--layout", "drawing", names=["drawn", "fsdp"])
        for option in ("--late", "--hold"):
            for value in ("-1", "inf", "1e400", "soon", ""):
                self.refused("fsdp", option, value, names=[option])
        self.refused("fsdp", "--model", "20000GB", code=1, names=["resource_exhausted", "--ranks"])


class Use(Case):
    def test_bad_use_lists_what_there_is(self):
        self.refused(names=["ipc", "fsdp"])
        self.refused("nccl", names=["ipc", "fsdp"])
        self.refused("ipc", "--model", "gpt-9", names=["qwen2.5-0.5b", "0.5GB"])
        for size in ("0GB", "-1GB", "nanGB", "1e400GB", "", "70Q"):
            self.refused("ipc", "--model", size, names=["qwen2.5-0.5b", "0.5GB"])
        self.refused("ipc", "--opens", "0", names=["--opens"])
        self.refused("ipc", "--copies", "none", names=["--copies"])
        self.refused("ipc", "--model", "20000GB", code=1, names=["resource_exhausted", "--model"])

    def test_help_has_examples(self):
        for arguments in (("--help",), ("ipc", "--help"), ("fsdp", "--help")):
            text = self.good(*arguments)
            self.assertIn("Examples:", text)
            self.assertIn("wsync explain", text)


if __name__ == "__main__":
    WSYNC = sys.argv.pop(1)
    unittest.main()
