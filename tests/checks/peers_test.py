"""The pure parts of bench/peers: ratios, bars, table, the conversation with a process, the page cache."""
import os
import pathlib
import sys
import tempfile
import unittest

PEERS = pathlib.Path(__file__).resolve().parent.parent.parent / "bench" / "peers"
sys.path.insert(0, str(PEERS))

import comparison  # noqa: E402
import page_cache  # noqa: E402
import rows  # noqa: E402
from comparison import Bar, Row, Section, compare, judge, table  # noqa: E402
from conversation import Partner, Refused  # noqa: E402

ECHO = "import json, sys\nprint('{\"ready\": true}', flush=True)\nfor line in sys.stdin: print(line, end='', flush=True)"


def measure(seconds, trainer=0.0):
    return {"seconds": seconds, "trainer_seconds": [trainer] * len(seconds)}


class ComparisonTest(unittest.TestCase):
    def setUp(self):
        wanted = [Row("a", "peer A", "peer.a", "ours", limit="M2", leaves_out=("digests",)), Row("b", "peer B", "peer.b", "ours"),
                  Row("c", "peer C", "peer.c", "ours", same_work=False), Row("d", "peer D", "peer.d", "ours")]
        self.section = Section("shm", "Shared memory", wanted, {"name": "m", "bytes": 10**6, "tensors": 3})
        self.section.measures = {"ours": measure([1.0, 2.0, 4.0], 1.0), "peer.a": measure([3.0, 4.0, 4.0]), "peer.b": measure([0.5, 1.0, 2.0], 4.5),
                                 "peer.c": measure([1.0, 1.0, 1.0]), "limit.M2": measure([0.5, 1.0, 3.0])}

    def test_ratios_are_formed_round_by_round(self):
        a, b, c = compare(self.section)
        self.assertEqual(a["ratios"], [3.0, 2.0, 1.0])
        self.assertEqual(a["ratio"], {"min": 1.0, "median": 2.0, "max": 3.0})
        self.assertEqual(a["ratio_with_trainer"]["median"], 4 / 3)
        self.assertEqual(b["ratio_with_trainer"], {"min": 1.3, "median": 5.5 / 3, "max": 2.5})
        self.assertTrue(a["faster"])
        self.assertFalse(b["faster"])

    def test_shares_of_the_limit(self):
        a, b, _ = compare(self.section)
        self.assertEqual(a["our_share"], {"min": 0.5, "median": 0.5, "max": 0.75})
        self.assertEqual(a["peer_share"]["median"], 0.25)
        self.assertIsNone(b["our_share"])

    def test_rows_that_were_not_measured_are_left_out(self):
        self.assertEqual([row["id"] for row in compare(self.section)], ["a", "b", "c"])

    def test_unequal_rounds_are_refused(self):
        self.section.measures["peer.a"]["seconds"].pop()
        with self.assertRaises(ValueError):
            compare(self.section)

    def test_a_bar_is_judged_against_the_peer_that_comes_closest(self):
        bars = [Bar("x", "against A", 2.0, ("a",)), Bar("y", "against both", 0.6, ("a", "b")), Bar("z", "against none", 1.0, ("nobody",))]
        judged = judge(bars, compare(self.section))
        self.assertEqual([(bar["id"], bar["row"], bar["pass"]) for bar in judged], [("x", "a", True), ("y", "b", False)])

    def test_the_table_says_what_is_not_faster(self):
        measured = compare(self.section)
        document = {"machine": "a machine", "sections": [{"title": "T", "model": self.section.model, "rounds": 3, "rows": measured}],
                    "bars": judge([Bar("x", "against B", 1.0, ("b",))], measured)}
        text = table(document)
        self.assertIn("wsync is not faster than: peer B", text)
        self.assertNotIn("peer C,", text.splitlines()[-1])
        self.assertRegex(text, r"peer A .* 25 % M2 .* 50 % M2 .* 2\.00 \[1\.00 \.\. 3\.00\] .* digests")
        self.assertRegex(text, r"against B .* FAIL")

    def test_show_seconds(self):
        self.assertEqual([comparison.show_seconds(s) for s in (0.0000871, 0.0123, 2.5)], ["87.1 us", "12.3 ms", "2.5 s"])

    def test_every_bar_and_limit_has_its_rows(self):
        every = rows.SHARED + rows.MANY + rows.NETWORK + rows.WRITE + rows.read("cold") + rows.read("warm")
        ids = [row.id for row in every]
        self.assertEqual(len(ids), len(set(ids)))
        for bar in rows.BARS:
            self.assertLessEqual(set(bar.rows), {row.id for row in every if row.same_work}, bar.id)


class ConversationTest(unittest.TestCase):
    def test_a_partner_answers_and_ends(self):
        with Partner("echo", [sys.executable, "-c", ECHO]) as partner:
            self.assertEqual(partner.ask("sing", times=2), {"do": "sing", "times": 2})
            with self.assertRaisesRegex(Refused, "echo: no"):
                partner.ask("x", error={"message": "no"})
            process = partner.process
        self.assertIsNotNone(process.returncode)

    def test_what_a_partner_started_ends_with_it(self):
        stubborn = "import subprocess, sys\np = subprocess.Popen(['sleep', '1000'], stdout=subprocess.DEVNULL)\n" \
                   "print('{\"pid\": %d}' % p.pid, flush=True)\nsys.stdin.read()"
        with Partner("parent", [sys.executable, "-c", stubborn]) as partner:
            child = partner.greeting["pid"]
        self.assertFalse(alive(child))

    def test_a_partner_that_dies_is_told(self):
        with self.assertRaisesRegex(Refused, "ended without an answer"):
            Partner("dead", [sys.executable, "-c", "pass"])

    def test_a_partner_that_hangs_is_given_up(self):
        with self.assertRaisesRegex(Refused, "no answer"):
            Partner("mute", [sys.executable, "-c", "import sys; sys.stdin.read()"], patience=0.1)


def alive(pid):
    """Not gone, and not a zombie that nobody has waited for."""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


class PageCacheTest(unittest.TestCase):
    def test_what_is_read_is_resident(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "file")
            pathlib.Path(path).write_bytes(bytes(1 << 20))
            pathlib.Path(folder, "empty").touch()
            page_cache.fill(folder)
            self.assertEqual(page_cache.resident_share(path), 1.0)
            self.assertEqual(page_cache.resident_share(os.path.join(folder, "empty")), 0.0)

    def test_a_file_that_is_removed_meanwhile_is_passed_over(self):
        with tempfile.TemporaryDirectory() as folder:
            names = [os.path.join(folder, name) for name in "ab"]
            for name in names:
                pathlib.Path(name).touch()
            seen = []

            def remove_the_other(name):
                os.stat(name)
                seen.append(name)
                os.unlink(next(other for other in names if other != name))

            page_cache.each_file(folder, remove_the_other)
            self.assertEqual(len(seen), 1)
            with self.assertRaises(FileNotFoundError):
                page_cache.drop(os.path.join(folder, "never"))


if __name__ == "__main__":
    unittest.main()
