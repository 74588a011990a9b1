"""compare, timeline and tutorial from the outside: figures, documents, exit codes, one-line errors.

Usage: tutorial_test.py PATH-OF-WSYNC
The expected figures are worked out here, from the tutorial's own table, not by wsync.
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest

WSYNC = ""
GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "predict")

# id, GB/s, set-up ms, works across nodes
METHODS = [
    ("disk_ssd", 7, 100, True),
    ("disk_hdd", 0.2, 500, True),
    ("nccl_nvlink", 450, 10, False),
    ("nccl_ib", 50, 50, True),
    ("nccl_ethernet", 12.5, 100, True),
    ("cuda_ipc", None, 1, False),
]
PLACEMENTS = ["co-located", "disaggregated-same-node", "disaggregated-cross-node"]


def seconds_of(gigabytes, rate, setup_ms):
    return ((gigabytes / rate * 1000 if rate else 0) + setup_ms) / 1000


def run(*arguments, **options):
    return subprocess.run([WSYNC, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, **options)


class Case(unittest.TestCase):
    def good(self, *arguments, **options):
        result = run(*arguments, **options)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stderr, "")
        return result.stdout

    def document(self, *arguments):
        return json.loads(self.good(*arguments, "--json"))

    def refused(self, *arguments, names=()):
        result = run(*arguments)
        self.assertEqual(result.returncode, 2, (arguments, result.stdout, result.stderr))
        self.assertEqual(result.stdout, "", arguments)
        lines = result.stderr.splitlines()
        self.assertEqual(len(lines), 1, (arguments, result.stderr))
        for name in names:
            self.assertIn(name, lines[0], arguments)


class Compare(Case):
    KEYS = ["id", "name", "description", "gigabytes_per_second", "setup_ms", "works_across_nodes", "works_same_gpu", "link", "seconds", "verdict",
            "percent_of_disk", "feasible", "reason", "stages", "path"]

    def test_documents_are_exact(self):
        for size in ("140", "0.5", "1027.25"):
            document = self.document("compare", "-m", size)
            self.assertEqual(list(document), ["schema", "profile", "model", "placements"])
            self.assertEqual(document["schema"], "wsync.compare/1")
            self.assertEqual(document["profile"], "tutorial")
            self.assertEqual(document["model"], {"name": size + " GB", "bytes": round(float(size) * 1e9)})
            self.assertEqual([p["placement"] for p in document["placements"]], PLACEMENTS)
            disk = seconds_of(float(size), 7, 100)
            for placement in document["placements"]:
                self.assertEqual([m["id"] for m in placement["methods"]], [m[0] for m in METHODS])
                for method, (_, rate, setup_ms, across) in zip(placement["methods"], METHODS):
                    self.assertEqual(list(method), self.KEYS)
                    expected = seconds_of(float(size), rate, setup_ms)
                    self.assertAlmostEqual(method["seconds"], expected, delta=1e-9)
                    self.assertAlmostEqual(method["percent_of_disk"], 100 * expected / disk, delta=1e-7)
                    self.assertEqual(method["gigabytes_per_second"], rate)
                    self.assertEqual(method["setup_ms"], setup_ms)
                    self.assertEqual(method["works_across_nodes"], across)
                    self.assertTrue(method["works_same_gpu"])
                    self.assertEqual(method["feasible"], across or placement["placement"] != PLACEMENTS[2])
                    self.assertEqual(bool(method["reason"]), not method["feasible"])
                    self.assertEqual(method["stages"], {})
                    self.assertAlmostEqual(sum(hop["seconds"] for hop in method["path"]), expected, delta=1e-9)
                    for hop in method["path"]:
                        self.assertEqual(list(hop), ["from", "to", "bytes", "seconds"])
                        self.assertEqual(hop["bytes"], 0 if rate is None else document["model"]["bytes"])

    def test_shows_the_tutorials_figures(self):
        text = self.good("compare")
        for figure in ("1.0 ms", "0.32 s", "2.85 s", "11.30 s", "20.10 s", "11.7 min", "Zero copy!", "Excellent", "Good", "Acceptable", "Slow",
                       "GPU memory → CPU memory → disk → CPU memory → GPU memory", "GPU memory → network → GPU memory"):
            self.assertIn(figure, text)
        self.assertEqual(text, self.good("compare", "--params", "70B", "--dtype", "fp16"))

    def test_golden_texts(self):
        for size in ("140", "0.5", "1027.25"):
            for arguments, name in ((("compare",), "compare-tutorial"), (("compare", "--profile", "tutorial-stages"), "compare-stages")):
                with open(os.path.join(GOLDEN, f"{name}-{size}.txt"), encoding="utf-8") as golden:
                    self.assertEqual(self.good(*arguments, "--model-size", size), golden.read())

    def test_stages(self):
        document = self.document("compare", "--profile", "tutorial-stages", "--placement", "co-located")
        methods = {m["id"]: m for m in document["placements"][0]["methods"]}
        expected = {"disk": {"write": 28.0, "read": 28.0}, "nccl": {"gather": 2.1, "transfer": 5.6, "broadcast": 2.1},
                    "cuda_ipc": {"get_handle": 0.001, "serialize": 0.001, "reconstruct": 0.001}}
        self.assertEqual(list(methods), list(expected))
        for name, stages in expected.items():
            self.assertEqual(list(methods[name]["stages"]), list(stages))
            for stage, seconds in stages.items():
                self.assertAlmostEqual(methods[name]["stages"][stage], seconds, delta=1e-9)
        self.assertAlmostEqual(methods["nccl"]["seconds"], 9.8, delta=1e-9)
        self.assertAlmostEqual(methods["nccl"]["percent_of_disk"], 17.5, delta=1e-7)
        self.assertAlmostEqual(methods["cuda_ipc"]["seconds"], 0.003, delta=1e-9)

    def test_can_be_narrowed(self):
        document = self.document("compare", "--placement", "disaggregated-cross-node", "--methods", "cuda_ipc,nccl_ib")
        self.assertEqual([p["placement"] for p in document["placements"]], ["disaggregated-cross-node"])
        self.assertEqual([m["id"] for m in document["placements"][0]["methods"]], ["nccl_ib", "cuda_ipc"])
        self.assertEqual(len(self.document("compare", "--placement", "co-located", "disaggregated-same-node")["placements"]), 2)
        with open(os.path.join(GOLDEN, "methods-tutorial.txt"), encoding="utf-8") as golden:
            self.assertEqual(self.good("compare", "--methods"), golden.read())
        self.assertEqual(self.document("compare", "--methods"), self.document("compare"))

    def test_models(self):
        catalogue = self.document("compare", "--model", "llama-3.1-70b")
        self.assertEqual(catalogue["model"], {"name": "llama-3.1-70b", "bytes": 141107412992})
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "model.safetensors")
            header = b'{"w":{"dtype":"F32","shape":[4,2],"data_offsets":[0,32]}}'
            with open(path, "wb") as file:
                file.write(len(header).to_bytes(8, "little") + header + bytes(32))
            self.assertEqual(self.document("compare", "--model", path)["model"]["bytes"], 32)
            self.assertEqual(self.document("compare", "--model", directory)["model"]["bytes"], 32)

    def test_bad_sizes(self):
        for size in ("0", "-1", "-0.5", "NaN", "nan", "inf", "-inf", "1e400", "1e-400", "70Q", "", " ", "140GB", "140 ", "0x8c", "1e10", "1e-12"):
            for verb in ("compare", "timeline", "tutorial"):
                self.refused(verb, "--model-size", size, names=["GB", "--params 70B --dtype fp16", "qwen2.5-0.5b"])
        for count in ("0", "-70B", "nanB", "70Q", "", "1e400"):
            self.refused("compare", "--params", count, "--dtype", "fp16", names=["--params 70B --dtype fp16"])
        self.refused("compare", "-m")
        self.refused("compare", "--model-size=")
        self.refused("compare", "-m", "140", "extra")
        self.refused("compare", "--params", "70B", "--dtype", "fp17", names=["fp16"])
        self.refused("compare", "--dtype", "fp16", names=["--params"])
        self.refused("compare", "-m", "140", "--params", "70B")
        self.refused("compare", "-m", "140", "--model", "qwen3-8b")

    def test_unknown_names_list_what_there_is(self):
        self.refused("compare", "--methods", "warp", names=[m[0] for m in METHODS])
        self.refused("compare", "--placement", "moon", names=PLACEMENTS)
        self.refused("compare", "--profile", "h100", names=["tutorial", "tutorial-stages", "wsync bench --json"])
        self.refused("compare", "--model", "gpt-9", names=["qwen2.5-0.5b", "llama-3.1-70b"])
        self.refused("compare", "--no-such-option")


class Timeline(Case):
    KEYS = ["schema", "profile", "model", "method", "method_name", "generation_seconds", "training_seconds", "transfer_seconds", "transfers_per_iteration",
            "iteration_seconds", "overhead_percent"]

    def test_documents_are_exact(self):
        for size in ("140", "0.5", "1027.25"):
            for name, rate, setup_ms, _ in METHODS:
                document = self.document("timeline", "-m", size, "--method", name, "--generation", "12.5", "--training", "7")
                self.assertEqual(list(document), self.KEYS)
                transfer = seconds_of(float(size), rate, setup_ms)
                self.assertEqual(document["schema"], "wsync.timeline/1")
                self.assertEqual(document["method"], name)
                self.assertEqual(document["transfers_per_iteration"], 2)
                self.assertAlmostEqual(document["transfer_seconds"], transfer, delta=1e-9)
                self.assertAlmostEqual(document["iteration_seconds"], 19.5 + 2 * transfer, delta=1e-9)
                self.assertAlmostEqual(document["overhead_percent"], 200 * transfer / (19.5 + 2 * transfer), delta=1e-9)

    def test_shows_both_methods_of_the_tutorial(self):
        text = self.good("timeline")
        for figure in ("CUDA IPC Handle", "50.002 s", "0.0 % (0.004)", "NCCL (InfiniBand)", "55.70 s", "10.2 %", "transfer (train → infer)",
                       "transfer (infer ← train)"):
            self.assertIn(figure, text)
        self.assertLess(text.index("CUDA IPC Handle"), text.index("NCCL (InfiniBand)"))
        documents = self.document("timeline")
        self.assertEqual([d["method"] for d in documents], ["cuda_ipc", "nccl_ib"])

    def test_other_profiles_count_once_and_say_why(self):
        document = self.document("timeline", "--profile", "tutorial-stages", "--method", "nccl")
        self.assertEqual(document["transfers_per_iteration"], 1)
        self.assertAlmostEqual(document["iteration_seconds"], 59.8, delta=1e-9)
        self.assertIn("samples", self.good("timeline", "--profile", "tutorial-stages"))

    def test_bad_arguments(self):
        self.refused("timeline", "--method", "warp", names=[m[0] for m in METHODS])
        self.refused("timeline", "--profile", "h100", names=["tutorial", "tutorial-stages"])
        for seconds in ("-1", "nan", "inf", "1e400", "30s", ""):
            self.refused("timeline", "--generation", seconds, names=["--generation"])
            self.refused("timeline", "--training", seconds, names=["--training"])


class MeasuredProfile(Case):
    BENCH = os.path.join(GOLDEN, "bench.json")

    def test_is_a_third_kind_of_profile(self):
        document = self.document("compare", "-m", "140", "--profile", self.BENCH)
        seconds = {m["id"]: m["seconds"] for m in document["placements"][0]["methods"]}
        self.assertEqual(list(seconds), ["shm_map", "shm_copy", "tcp", "disk"])
        self.assertAlmostEqual(seconds["tcp"], 28.0, delta=1e-9)
        self.assertAlmostEqual(seconds["disk"], 175.0, delta=1e-9)
        once = self.document("timeline", "-m", "140", "--profile", self.BENCH, "--method", "tcp")
        self.assertEqual(once["transfers_per_iteration"], 1)
        self.assertAlmostEqual(once["iteration_seconds"], 78.0, delta=1e-9)
        self.refused("timeline", "--profile", self.BENCH, "--method", "nccl_ib", names=["shm_map", "shm_copy", "tcp", "disk"])

    def test_bad_documents(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "bad.json")
            for text in ("", "{", "[]", '{"schema":"wsync.bench/2"}', '{"schema":"wsync.bench/1"}', "[" * 100000):
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
                for verb, option in (("compare", "--profile"), ("timeline", "--profile"), ("tutorial", "--measured")):
                    self.refused(verb, option, path, names=["bad.json"])
            self.refused("compare", "--profile", directory)
            self.refused("compare", "--model", directory)
            pipe = os.path.join(directory, "pipe")
            os.mkfifo(pipe)
            for path in (pipe, "/dev/zero"):
                self.refused("compare", "--profile", path, names=[path])
                self.refused("compare", "--model", path)
            self.refused("compare", "--profile", os.path.join(directory, "absent.json"), names=["tutorial-stages"])
            self.refused("tutorial", "--measured", os.path.join(directory, "absent.json"), names=["absent.json"])


class Tutorial(Case):
    def walk(self, *arguments):
        with tempfile.TemporaryDirectory() as directory:
            text = self.good("tutorial", *arguments, cwd=directory)
            self.assertEqual(os.listdir(directory), [])
            return text

    def unmeasured(self, *arguments):
        return self.walk("--no-measure", *arguments)

    def test_golden_texts(self):
        for size in ("140", "0.5", "1027.25"):
            with open(os.path.join(GOLDEN, f"tutorial-{size}.txt"), encoding="utf-8") as golden:
                self.assertEqual(self.unmeasured("-m", size), golden.read())

    def test_takes_measurements_given_or_found(self):
        bench = os.path.join(GOLDEN, "bench.json")
        given = self.walk("--measured", bench)
        self.assertNotIn("run wsync bench --json", given)
        self.assertIn("5 GB/s  (tcp)", given)
        self.assertIn("run wsync bench --json", self.unmeasured())
        self.refused("tutorial", "--measured", bench, "--no-measure", names=["--no-measure"])
        with tempfile.TemporaryDirectory() as directory:
            with open(bench, encoding="utf-8") as source, open(os.path.join(directory, "wsync-bench.json"), "w", encoding="utf-8") as target:
                target.write(source.read())
            self.assertIn("5 GB/s  (tcp)", self.good("tutorial", cwd=directory))
            self.assertIn("run wsync bench --json", self.good("tutorial", "--no-measure", cwd=directory))

    def test_measures_live_without_a_file(self):
        document = json.loads(self.walk("-m", "0.5", "--json"))
        self.assertIn("live", document["measured"])
        sections = {section["id"]: section for section in document["sections"]}
        for section in ("co-located", "disaggregated-same-node", "disaggregated-cross-node"):
            figures = {figure["label"]: figure for figure in sections[section]["tables"][0]["figures"]}
            self.assertGreater(figures["NCCL (InfiniBand)"]["measured_seconds"], 0)
            self.assertGreater(figures["Disk (NVMe SSD)"]["measured_seconds"], 0)
            self.assertIn("(tcp)", figures["NCCL (InfiniBand)"]["measured"])
        handle = {figure["label"]: figure for figure in sections["ipc"]["tables"][0]["figures"]}
        self.assertIn("memfd handle", handle["bytes of a handle"]["measured"])
        self.assertIn("attach and map", handle["time to open it"]["measured"])
        self.assertTrue(handle["bytes moved"]["measured"].startswith("0 of "), handle["bytes moved"])
        verl = sections["verl"]["tables"][0]["figures"]
        self.assertGreater(verl[0]["measured_seconds"], 0)
        self.assertEqual([figure["label"] for figure in verl[3:]], ["shards there to loaded, with a gather", "asking to loaded, by plan, no gather"])
        for section in ("timeline-cuda_ipc", "timeline-nccl_ib"):
            self.assertIsNotNone(sections[section]["tables"][0]["figures"][-2]["measured_seconds"])
        self.assertNotIn("run wsync bench", json.dumps(document["sections"]))

    def test_walks_in_the_tutorials_order(self):
        text = self.unmeasured()
        places = [text.index(part) for part in ("1. co-located", "2. disaggregated-same-node", "3. disaggregated-cross-node", "4. the key insight",
                                                "5. CUDA IPC handles", "6. verl's flow", "7. one RLHF iteration with CUDA IPC",
                                                "8. one RLHF iteration with NCCL (InfiniBand)")]
        self.assertEqual(places, sorted(places))
        for figure in ("~100 bytes", "~1 ms", "140 GB / 450 GB/s = 311 ms", "28.0 s", "56.0 s", "9.8 s  17.5 %", "0.003 s  0.005 %"):
            self.assertIn(figure, text)

    def test_document(self):
        document = self.document("tutorial", "--no-measure", "--params", "70B", "--dtype", "fp16")
        self.assertEqual(document["schema"], "wsync.tutorial/1")
        self.assertEqual(document["model"], {"name": "70B parameters in FP16", "bytes": 140000000000})
        self.assertEqual([s["id"] for s in document["sections"]][:2], ["banner", "co-located"])


class Help(Case):
    def test_every_verb_has_examples(self):
        for verb in ("compare", "timeline", "tutorial"):
            text = self.good(verb, "--help")
            self.assertIn("wsync " + verb, text)
            self.assertIn("example", text.lower())


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: tutorial_test.py PATH-OF-WSYNC")
    WSYNC = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)
