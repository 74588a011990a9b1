#!/usr/bin/env python3
"""wsync beside the tools that people use today: the same bytes, the same machine, the same rounds.

Every section runs wsync's fleet (that of `wsync bench`) and its peers in processes that live through all rounds; each
round runs every variant once, in another order each time; ratios are formed round by round.
"""
import argparse
import contextlib
import importlib.metadata
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
import page_cache
import provenance
import rows
from comparison import Section, compare, judge, table
from conversation import Partner, Refused

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SCHEMA = "wsync.peers/1"
PACKAGES = ("torch", "numpy", "safetensors", "fastsafetensors", "runai-model-streamer")
# The peers' own large allocations on huge pages, which is the better for them.
PEER_ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "THP_MEM_ALLOC_ENABLE": "1"}
EXAMPLES = """examples:
  make bench-peers                                    everything; table on the screen, JSON in wsync-peers.json
  run.py --quick                                      a small run, to see that it works
  run.py --only shm,tcp --rounds 15                   some of the sections
  run.py --model model.safetensors --json             a checkpoint of your own; the document on standard output
  run.py --merge a.json b.json                        the table of sections that were measured apart
"""


def say(text):
    print(text, file=sys.stderr, flush=True)


class Run:
    """One section's partners, its scratch folder and its rounds."""

    def __init__(self, arguments, scratch, section, model):
        self.arguments, self.scratch, self.section, self.model = arguments, scratch, section, model
        self.stack = contextlib.ExitStack()
        self.tasks = []           # each returns {measure: (seconds, trainer's seconds)}
        self.checkpoint = ""
        self.order = random.Random(17)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return self.stack.__exit__(*exception)

    def make_checkpoint(self):
        """A single safetensors file: the model's own, or one that `wsync synth` draws."""
        if os.path.isfile(self.model):
            self.checkpoint = os.path.abspath(self.model)
            return
        say(f"{self.section.id}: drawing {self.model}")
        out = os.path.join(self.scratch, "weights")
        subprocess.run([self.arguments.wsync, "synth", "--model", self.model, "--out", out], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.checkpoint = os.path.join(out, "model.safetensors")
        if not os.path.isfile(self.checkpoint):
            raise Refused(f"{self.model} is more than one file as a checkpoint: choose a smaller model")

    def fleet(self, *methods):
        say(f"{self.section.id}: starting wsync's trainer and receiver")
        self.fleet_folder = os.path.join(self.scratch, "fleet")
        os.mkdir(self.fleet_folder)
        command = [self.arguments.driver, "--model", self.checkpoint, "--methods", ",".join(methods), "--dir", self.fleet_folder,
                   "--threads", str(self.arguments.threads)]
        fleet = self.stack.enter_context(Partner("wsync's fleet", command))
        self.section.model = {"name": os.path.basename(self.model), "bytes": fleet.greeting["bytes"], "tensors": fleet.greeting["tensors"]}
        self.checks = [lambda method=method: fleet.ask("audit", method=method) for method in methods]
        return fleet

    def peer(self, script, *arguments):
        say(f"{self.section.id}: starting {script}")
        partner = self.stack.enter_context(Partner(script, [sys.executable, str(HERE / script), self.checkpoint, *arguments, str(self.arguments.threads)],
                                                   PEER_ENVIRONMENT))
        if partner.greeting["bytes"] != self.section.model["bytes"]:
            raise Refused(f"{script} holds {partner.greeting['bytes']} bytes, wsync {self.section.model['bytes']}: not the same work")
        return partner

    def limit(self, fleet, *names):
        """What the machine itself does in the same rounds."""
        def task(name):
            return lambda _: {f"limit.{name}": (self.section.model["bytes"] / fleet.ask("limit", name=name)["bytes_per_second"], 0.0)}
        return [task(name) for name in names]

    def rounds(self):
        for number in range(self.arguments.rounds + 1):
            say(f"{self.section.id}: " + (f"round {number} of {self.arguments.rounds}" if number else "warming up, checking every byte"))
            self.order.shuffle(self.tasks)
            for task in self.tasks:
                for name, (seconds, trainer) in task(number == 0).items():
                    if number == 0:
                        continue
                    measure = self.section.measures.setdefault(name, {"seconds": [], "trainer_seconds": []})
                    measure["seconds"].append(seconds)
                    measure["trainer_seconds"].append(trainer)
        for check in self.checks:
            check()


def shm(run, strategy="file_descriptor"):
    fleet = run.fleet("shm_map", "shm_copy")
    peer = run.peer("torch_queue.py", strategy)
    run.section.facts = {"sharing_strategy": strategy, "share_seconds_once": peer.greeting["share_seconds"]}

    def ours(_):
        fleet.ask("publish")
        result = {}
        for method in run.order.sample(("shm_map", "shm_copy"), 2):
            synced = fleet.ask("sync", method=method)
            result[method] = (synced["hand_over_seconds"], synced["stages"]["prepare"])
        return result

    def theirs(first):
        answer = peer.ask("send")
        if first:
            peer.ask("check")
        return {f"torch_queue.{end}": (answer[end], answer["snapshot"]) for end in ("views", "copied")}

    run.tasks = [ours, theirs] + run.limit(fleet, "M2")


def tcp(run):
    fleet = run.fleet("tcp")
    peer = run.peer("gloo_broadcast.py")
    run.section.facts = {"congestion_control": peer.greeting["congestion_control"]}

    def ours(_):
        fleet.ask("publish")
        synced = fleet.ask("sync", method="tcp")
        return {"tcp": (synced["hand_over_seconds"], synced["stages"]["prepare"])}

    def broadcast(shape, group):
        def theirs(first):
            answer = peer.ask("broadcast", shape=shape, group=group)
            if first:
                peer.ask("check")
            return {f"gloo.{shape}.{group}": (answer["seconds"], 0.0)}
        return theirs

    run.tasks = [ours] + [broadcast(shape, group) for shape in ("tensors", "buckets", "flat") for group in ("default", "reno")] + run.limit(fleet, "T")


def disk_write(run):
    fleet = run.fleet("disk")
    peer = run.peer("checkpoint_files.py", run.scratch)

    def ours(name, save):
        def task(first):
            for _ in range(3 if first else 1):  # the first ones leave the versions that are written over later
                fleet.ask("publish", save=save)
            synced = fleet.ask("sync", method="disk")
            return {name: (synced["stages"]["expose"], synced["stages"]["prepare"])}
        return task

    def theirs(library, new):
        def task(_):
            return {f"{library}.{'new' if new else 'over'}": (peer.ask("save", library=library, new=new)["seconds"], 0.0)}
        return task

    run.tasks = [ours("write_recycled", "recycled"), ours("write_new", "new_files")]
    run.tasks += [theirs(library, new) for library in ("safetensors", "torch") for new in (True, False)] + run.limit(fleet, "W", "W2")


def disk_read(run, state):
    fleet = run.fleet("disk")
    peer = run.peer("checkpoint_files.py", run.scratch)

    def ours(_):
        fleet.ask("publish", save="recycled")
        (page_cache.drop if state == "cold" else page_cache.fill)(run.fleet_folder)
        synced = fleet.ask("sync", method="disk")
        return {f"read_{state}": (synced["hand_over_seconds"], 0.0)}

    def theirs(library):
        def task(first):
            answer = peer.ask("load", library=library, cold=state == "cold")
            if library == "runai_ready":  # a stream's tensors are copied as they come: without copies it is a load of its own
                return {f"runai.{state}.ready": (answer["ready"], 0.0)}
            if first:
                peer.ask("check")
            ends = ("copied",) if library == "runai" else ("copied", "ready")
            return {f"{library}.{state}.{end}": (answer[end], 0.0) for end in ends}
        return task

    run.tasks = [ours] + [theirs(library) for library in [id for id, _ in rows.LOADERS] + ["runai_ready"]] + run.limit(fleet, rows.LIMITS[state])


SECTIONS = {
    "shm": ("Same host, shared memory", rows.SHARED, shm),
    "shm-many": ("Same host, shared memory, many small tensors", rows.MANY, lambda run: shm(run, "file_system")),
    "tcp": ("TCP over loopback", rows.NETWORK, tcp),
    "disk-write": ("Checkpoint to disk, durable", rows.WRITE, disk_write),
    "disk-cold": ("Checkpoint from disk, not cached", rows.read("cold"), lambda run: disk_read(run, "cold")),
    "disk-warm": ("Checkpoint from disk, cached", rows.read("warm"), lambda run: disk_read(run, "warm")),
}


def measure(arguments, id):
    title, wanted, prepare = SECTIONS[id]
    section = Section(id, title, wanted)
    scratch = tempfile.mkdtemp(prefix="wsync-peers-", dir=arguments.dir)
    try:
        with Run(arguments, scratch, section, arguments.many_model if id == "shm-many" else arguments.model) as run:
            run.make_checkpoint()
            prepare(run)
            run.rounds()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {"id": id, "title": title, "rounds": arguments.rounds, "model": section.model, "facts": section.facts,
            "measures": section.measures, "rows": compare(section)}


def make_document(arguments, sections):
    return {"schema": SCHEMA, "date": provenance.now(), "commit": provenance.commit("src", "include", "bench/peers"),
            "machine": provenance.machine(), "threads": arguments.threads, "peer_environment": PEER_ENVIRONMENT,
            "packages": {name: importlib.metadata.version(name) for name in PACKAGES}, "sections": sections,
            "bars": judge(rows.BARS, [row for section in sections for row in section["rows"]])}


def merged(paths):
    documents = [json.loads(pathlib.Path(path).read_text()) for path in paths]
    document = documents[0]
    for other in documents[1:]:
        if (other["machine"], other["packages"]) != (document["machine"], document["packages"]):
            raise Refused("these were not measured on one machine with the same packages")
        document["sections"] += other["sections"]
    document["bars"] = judge(rows.BARS, [row for section in document["sections"] for row in section["rows"]])
    return document


def parse():
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, of: " + ", ".join(SECTIONS))
    parser.add_argument("--model", default="qwen2.5-0.5b", help="as wsync synth takes it, or a safetensors file (%(default)s)")
    parser.add_argument("--many-model", default="20000x48KiB", help="of section shm-many (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="beside a first one that is not counted (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of each process (%(default)s)")
    parser.add_argument("--dir", default=".", help="where the disk sections write; their folder there is removed (%(default)s)")
    parser.add_argument("--build", default=str(ROOT / "build"), help="where wsync was built (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a small model, two rounds: to see that it works, not for figures")
    parser.add_argument("--merge", nargs="+", metavar="FILE", help="measure nothing: one table of these documents")
    parser.add_argument("--json", action="store_true", help="print the document wsync.peers/1 instead of the table")
    parser.add_argument("-o", "--output", default="wsync-peers.json", help="the document's file (%(default)s)")
    arguments = parser.parse_args()
    arguments.only = [id for id in arguments.only.split(",") if id]
    if unknown := [id for id in arguments.only if id not in SECTIONS]:
        parser.error(f"no section {unknown[0]}; there are {', '.join(SECTIONS)}")
    if arguments.rounds < 1 or arguments.threads < 1:
        parser.error("at least one round and one thread")
    if arguments.quick:
        arguments.rounds, arguments.model, arguments.many_model = 2, "0.1GB", "2000x48KiB"
    arguments.wsync = os.path.join(arguments.build, "bin", "wsync")
    arguments.driver = os.path.join(arguments.build, "bin", "peers_fleet_driver")
    if not arguments.merge:
        for program in (arguments.wsync, arguments.driver):
            if not os.access(program, os.X_OK):
                parser.error(f"{program} is not built: make bench-peers builds it")
        if missing := [name for name in PACKAGES if not installed(name)]:
            parser.error(f"{', '.join(missing)} not installed in this Python: make bench-peers installs what {HERE / 'requirements.txt'} lists")
    return arguments


def installed(name):
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


def main():
    arguments = parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        document = merged(arguments.merge) if arguments.merge else make_document(arguments, [measure(arguments, id) for id in arguments.only])
    except KeyboardInterrupt:
        say("interrupted; nothing is left behind")
        return 1
    except (Refused, OSError, RuntimeError, subprocess.CalledProcessError) as error:
        say(f"run.py: {error}")
        return 1
    pathlib.Path(arguments.output).write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1) if arguments.json else table(document))
    say(f"result: {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
