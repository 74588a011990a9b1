#!/usr/bin/env python3
"""A sharded trainer's new weights, whole in one receiver: wsync beside gloo and torch.distributed.checkpoint, the same bytes in the same rounds.

The trainer is an FSDP2 module (fully_shard) over ranks with processes of their own, joined by gloo. In each round its optimizer steps
once; then every way brings the weights to the receiver, in another order each time, and every byte of every tensor is compared with what
the step must have left. Clock: from when the first rank begins to hand over, after all have stepped, until the receiver has all tensors
(ours: verified, active, as torch views). Ratios are formed round by round; the first round is not counted.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path += [str(HERE.parent), str(HERE.parent / "peers")]
import provenance
from conversation import Partner, Refused
from model import SHAPES, specs_of

SCHEMA = "wsync.refit/1"
WAYS = {
    "wsync.live": "wsync, the parameters in the slab", "wsync.snapshot": "wsync, a snapshot of them",
    "gloo.tensors": "gloo: full_tensor() of each, rank 0 broadcasts", "gloo.buckets": "gloo: buckets of 64 MiB, all-gather, rank 0 broadcasts",
    "dcp.tmpfs": "torch.distributed.checkpoint in memory (tmpfs)", "dcp.disk": "torch.distributed.checkpoint, page cache, not synced",
}
# The peers' own large allocations on huge pages, which is the better for them.
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "THP_MEM_ALLOC_ENABLE": "1"}
SHARE_BAR, TIMES_BAR = 0.7, 3.0
EXAMPLES = """examples:
  make bench-refit                                    table on the screen, JSON in wsync-refit.json
  run.py --rounds 3 --ways wsync.live,gloo.buckets    some of the ways
  run.py --model tiny --rounds 1 --json               to see that it works; the document on standard output
"""


def say(text):
    print(text, file=sys.stderr, flush=True)


class Fleet:
    """The ranks and the receiver, which live through all rounds."""

    def __init__(self, arguments, stack):
        given = {"ranks": arguments.ranks, "model": arguments.model, "threads": arguments.threads, "kernels": arguments.kernels,
                 "ways": arguments.ways,
                 "memory": stack.enter_context(tempfile.TemporaryDirectory(prefix="wsync-refit-", dir="/dev/shm")),
                 "disk": stack.enter_context(tempfile.TemporaryDirectory(prefix="wsync-refit-", dir=arguments.dir))}
        self.all = []
        for rank in range(arguments.ranks + 1):
            name = f"rank {rank}" if rank < arguments.ranks else "the receiver"
            command = [sys.executable, str(HERE / "process.py"), json.dumps(given | {"rank": rank})]
            threads = {"OMP_NUM_THREADS": str(1 if rank < arguments.ranks else arguments.threads)}
            self.all.append(stack.enter_context(Partner(name, command, ENVIRONMENT | threads)))
        self.ranks, self.receiver = self.all[:-1], self.all[-1]
        self.greeting = self.ask_all(self.all, "open")[-1]

    @staticmethod
    def ask_all(partners, do, **more):
        for partner in partners:
            partner.tell(do, **more)
        return [partner.receive() for partner in partners]

    def hand_over(self, way, step):
        self.receiver.ask("prepare")
        self.receiver.tell("receive", way=way, step=step)
        sent = self.ask_all(self.ranks, "send", way=way, step=step)
        got = self.receiver.receive()
        if got["bytes_checked"] != self.greeting["bytes"]:
            raise Refused(f"{way}: {got['bytes_checked']} bytes were checked of {self.greeting['bytes']}")
        return {"seconds": got["ended"] - min(one["began"] for one in sent), "trainer_seconds": max(one["ended"] - one["began"] for one in sent),
                "sent": sent, "got": got}


def limits(arguments):
    """{name: bytes a second}: what two threads can copy on this machine, without digests (M2) and with them (D2)."""
    command = [arguments.wsync, "bench", "limits", "--limits", "M2,D2", "--runs", "3", "--dir", arguments.dir, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {name: limit["bytes_per_second"] for name, limit in json.loads(done.stdout)["limits"].items()}


def measure(arguments):
    ways = {way: {"seconds": [], "trainer_seconds": [], "kept_bytes": {}, "peak_growth_bytes": 0, "anonymous_growth_bytes": 0} for way in arguments.ways}
    rates = {"M2": [], "D2": []}
    order = random.Random(17)
    with contextlib.ExitStack() as stack:
        say(f"{arguments.ranks} ranks and a receiver start on {arguments.model}")
        fleet = Fleet(arguments, stack)
        for number in range(arguments.rounds + 1):
            round_name = f"round {number} of {arguments.rounds}" if number else "warming up"
            fleet.ask_all(fleet.ranks, "step")
            for way in order.sample(arguments.ways, len(arguments.ways)):
                one = fleet.hand_over(way, number + 1)
                say(f"{round_name}: {way} {one['seconds'] * 1e3:.1f} ms")
                if number:
                    add(ways[way], one)
            if number:
                for name, rate in limits(arguments).items():
                    rates[name].append(rate)
        return document(arguments, fleet.greeting, ways, rates)


def add(measured, one):
    """A round's figures to those of the rounds before."""
    for kind in ("seconds", "trainer_seconds"):
        measured[kind].append(one[kind])
    for sent in one["sent"]:
        for role, size in sent["kept"].items():
            measured["kept_bytes"][role] = max(size, measured["kept_bytes"].get(role, 0))
        for kind in ("peak", "anonymous"):
            measured[f"{kind}_growth_bytes"] = max(measured[f"{kind}_growth_bytes"], sent["growth"][kind])
    if "stages" in one["got"]:
        for name, value in (("stages", one["got"]["stages"]), ("steady_seconds", one["got"]["steady_seconds"])):
            measured.setdefault(name, []).append(value)
        for name in ("verification", "transport", "configuration"):
            measured[name] = one["got"][name]


def spread(values):
    return {"min": min(values), "median": statistics.median(values), "max": max(values), "rounds": list(values)}


def document(arguments, model, ways, rates):
    for measured in ways.values():
        if "steady_seconds" in measured:
            pairs = list(zip(measured["steady_seconds"], rates["M2"], strict=True))
            measured["share_of_M2"] = spread([model["bytes"] / seconds / rate for seconds, rate in pairs])
    ratios = {
        own: {peer: spread([a / b for a, b in zip(ways[peer]["seconds"], ways[own]["seconds"], strict=True)]) for peer in ways if not peer.startswith("wsync.")}
        for own in ways if own.startswith("wsync.")
    }  # fmt: skip
    return {
        "schema": SCHEMA, "date": provenance.now(), "commit": provenance.commit("src", "include", "python", "bench/refit"),
        "machine": provenance.machine(), "packages": {"torch": importlib.metadata.version("torch")}, "model": {"name": arguments.model} | model,
        "ranks": arguments.ranks, "threads": arguments.threads, "rounds": arguments.rounds,
        "limits": {name: spread(values) for name, values in rates.items()}, "ways": ways, "ratios": ratios, "bars": bars(ways, ratios),
    }  # fmt: skip


def bars(ways, ratios):
    """What the live way must reach; nothing where it was not run."""
    if "wsync.live" not in ways:
        return []
    live = ways["wsync.live"]
    # One bucket of the receiver is under way at a time on each of its threads; the trainer has none.
    in_flight = int(live["configuration"]["in_flight_bytes"])
    extra = max(sum(live["kept_bytes"].values()), live["peak_growth_bytes"])
    found = [
        {"what": "steady copy of M2", "bar": SHARE_BAR, "value": live["share_of_M2"]["median"], "holds": live["share_of_M2"]["median"] >= SHARE_BAR},
        {"what": "extra memory of a rank, bytes", "bar": in_flight, "value": extra, "holds": extra <= in_flight},
    ]
    if peers := ratios["wsync.live"]:
        best = min(peers, key=lambda peer: peers[peer]["median"])
        times = peers[best]["median"]
        found.append({"what": f"times as fast as the best peer, {best}", "bar": TIMES_BAR, "value": times, "holds": times >= TIMES_BAR})
    return found


def show(found):
    size = found["model"]["bytes"]
    lines = [found["machine"], f"{found['model']['name']}, {found['model']['tensors']} tensors, {size / 1e6:.0f} MB BF16, {found['ranks']} ranks; M2 "
             f"{found['limits']['M2']['median'] / 1e9:.1f} GB/s, D2 {found['limits']['D2']['median'] / 1e9:.1f} GB/s; medians of {found['rounds']} rounds", "",
             f"{'way':58} {'ms':>24} {'ranks held, ms':>15} {'ranks: kept + peak MiB':>23} {'live is faster':>16}"]  # fmt: skip
    for way, measured in found["ways"].items():
        seconds = spread(measured["seconds"])
        times = found["ratios"].get("wsync.live", {}).get(way)
        lines.append(
            f"{WAYS[way]:58} {seconds['median'] * 1e3:8.1f} {bracket(seconds, 1e3):>15} {statistics.median(measured['trainer_seconds']) * 1e3:15.1f} "
            f"{sum(measured['kept_bytes'].values()) / 2**20:11.1f} + {measured['peak_growth_bytes'] / 2**20:9.1f} "
            + (f"{times['median']:9.1f}x {bracket(times)}" if times else "")
        )
    for way, measured in found["ways"].items():
        if "stages" in measured:
            medians = {name: statistics.median(one[name] for one in measured["stages"]) * 1e3 for name in measured["stages"][0]}
            steady = size / statistics.median(measured["steady_seconds"]) / 1e9
            lines += ["", f"{way}: from the record seen to the version active {steady:.1f} GB/s, {measured['share_of_M2']['median']:.2f} of M2 "
                      f"{bracket(measured['share_of_M2'], 1, 2)}, {measured['verification']}, copy {measured['configuration']['kernels']}",
                      "  " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in medians.items() if ms >= 0.05)]
    lines += [""] + [f"{bar['what']}: {bar['value']:.4g}, bar {bar['bar']:g}: {'holds' if bar['holds'] else 'MISSED'}" for bar in found["bars"]]
    return "\n".join(lines)


def bracket(values, scale=1.0, digits=1):
    return f"[{values['min'] * scale:.{digits}f} .. {values['max'] * scale:.{digits}f}]"


def parse():
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SHAPES, default="qwen2.5-0.5b", help="%(default)s; tiny: to see that it works, not for figures")
    parser.add_argument("--ways", default=",".join(WAYS), help="of " + ", ".join(WAYS))
    parser.add_argument("--rounds", type=int, default=9, help="beside a first one that is not counted (%(default)s)")
    parser.add_argument("--ranks", type=int, default=2, help="of the trainer (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of the receiver; a rank has one (%(default)s)")
    parser.add_argument("--kernels", default="", help="the copy that wsync uses; the processor's default, unless it is given")
    parser.add_argument("--dir", default=".", help="where dcp.disk writes; its folder there is removed (%(default)s)")
    parser.add_argument("--wsync", default=str(pathlib.Path(sys.executable).parent / "wsync"), help="the command, for the machine's limits (%(default)s)")
    parser.add_argument("--json", action="store_true", help=f"print the document {SCHEMA} instead of the table")
    parser.add_argument("-o", "--output", default="wsync-refit.json", help="the document's file (%(default)s)")
    arguments = parser.parse_args()
    arguments.ways = [way for way in arguments.ways.split(",") if way]
    if unknown := [way for way in arguments.ways if way not in WAYS]:
        parser.error(f"no way {unknown[0]}; there are {', '.join(WAYS)}")
    if min(arguments.rounds, arguments.ranks, arguments.threads) < 1:
        parser.error("at least one round, one rank and one thread")
    if any(shape[0] % arguments.ranks for _, shape in specs_of(arguments.model)):
        parser.error(f"{arguments.model} has tensors whose rows {arguments.ranks} ranks can't share evenly")
    if not os.access(arguments.wsync, os.X_OK):
        parser.error(f"{arguments.wsync} is not there: make bench-refit makes the environment, or give --wsync build/bin/wsync")
    return arguments


def main():
    arguments = parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        found = measure(arguments)
    except KeyboardInterrupt:
        say("interrupted; nothing is left behind")
        return 1
    except (Refused, OSError, subprocess.CalledProcessError) as error:
        say(f"run.py: {error}")
        return 1
    pathlib.Path(arguments.output).write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1) if arguments.json else show(found))
    say(f"result: {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
