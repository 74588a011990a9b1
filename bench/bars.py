#!/usr/bin/env python3
"""wsync's promises of speed and memory, judged on this machine: `make bench-bars`.

Runs `wsync bench` several times and holds each figure against its bar: shares of the machine's own limits are the median of
the rounds' ratios, times the median of the rounds, memory the peak of all rounds. The 20,000 tensors and the one slab of
the same bytes take turns, and their ratio is the median over the turns. Prints one table, and how much of the processors
others had meanwhile: a miss on a machine that was not quiet says little. --output also writes the document wsync.bars/1. Exit 0 when every bar holds, 1 when one does not, 2 when a bench failed.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys

MIB = 1 << 20
METHODS = ["shm_map", "shm_copy", "tcp", "disk"]


class Quiet:
    """How much of the processors' time went to others while this ran: to the host (stolen), and to processes that are not ours."""

    def __init__(self):
        self.began = self.now()

    @staticmethod
    def now():
        with open("/proc/stat", encoding="ascii") as file:
            user, nice, system, idle, waiting, irq, softirq, stolen = (int(n) / os.sysconf("SC_CLK_TCK") for n in file.readline().split()[1:9])
        own = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {"busy": user + nice + system + irq + softirq, "stolen": stolen, "idle": idle + waiting, "own": own.ru_utime + own.ru_stime}

    def shares(self):
        spent = {name: value - self.began[name] for name, value in self.now().items()}
        whole = spent["busy"] + spent["stolen"] + spent["idle"]
        return {"stolen": spent["stolen"] / whole, "other_processes": max(0.0, spent["busy"] - spent["own"]) / whole}


class Bench:
    def __init__(self, tool, runs, directory):
        self.tool, self.runs, self.directory = tool, runs, directory

    def run(self, model, methods=METHODS, threads=2):
        print(f"bench of {model}: {', '.join(methods)}, {threads} thread(s)", file=sys.stderr, flush=True)
        command = [self.tool, "bench", "--json", "--model", model, "--methods", ",".join(methods)]
        command += ["--threads", str(threads), "--runs", str(self.runs), "--dir", self.directory]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(2)
        return json.loads(done.stdout)


def method(document, name):
    return next(row for row in document["methods"] if row["id"] == name)


def part(document, name, which):
    return next(row for row in method(document, name)["parts"] if row["id"] == which)


class Bars:
    def __init__(self):
        self.rows = []

    def add(self, what, unit, bar, values, at_least=False, judged=None):
        """`values`: of each round; judged by their median, or by `judged` where that is given."""
        value = statistics.median(values) if judged is None else judged
        holds = value >= bar if at_least else value <= bar
        self.rows.append({"what": what, "unit": unit, "bar": bar, "at_least": at_least, "value": value, "min": min(values), "max": max(values), "holds": holds})

    def share(self, what, row, bar):
        self.add(what, f"of {row['limit']}", bar, row["shares"], at_least=True)

    def print(self):
        width = max(len(row["what"]) for row in self.rows)
        for row in self.rows:
            sign = ">=" if row["at_least"] else "<="
            found = f"{row['value']:8.2f} [{row['min']:.2f} .. {row['max']:.2f}]"
            print(f"{row['what']:{width}}  {found:28} {row['unit']:10} {sign} {row['bar']:<6g} {'holds' if row['holds'] else 'MISSED'}")


def speed(bench, bars):
    document = bench.run("qwen2.5-0.5b")
    bars.share("shm copy, two threads", method(document, "shm_copy"), 0.75)
    bars.share("tcp, loopback", method(document, "tcp"), 0.85)
    for which, bar in (("write_recycled", 0.85), ("write_new", 0.85), ("read_cold", 0.9), ("read_warm", 0.85)):
        bars.share(f"disk, {which}", part(document, "disk", which), bar)
    bars.share("shm copy, one thread", method(bench.run("qwen2.5-0.5b", ["shm_copy"], 1), "shm_copy"), 0.65)
    for row in document["methods"]:
        extra = row["peak_extra_bytes"]
        kernel = row["rss_growth_bytes"]
        for role in ("trainer", "receiver"):
            values = [extra[role] / MIB, kernel[role] / MIB]
            bars.add(f"{row['id']}, extra memory, {role}", "MiB", 8 if row["id"] == "shm_map" else 80, values, judged=max(values))
    return document["machine"], document["limits"]


def hand_over(bench, bars):
    for model, name in (("300x13981KiB", "300 tensors"), ("20000x210KiB", "20,000 tensors")):
        document = bench.run(model, ["shm_map"])
        gibibytes = document["model"]["bytes"] / (1 << 30)
        of_receiver = part(document, "shm_map", "first"), part(document, "shm_map", "populate")
        bars.add(f"shm map, hand-over, {gibibytes:.1f} GiB, {name}", "ms", 1, [1e3 * value for value in of_receiver[0]["rounds"]])
        bars.add(f"shm map, populate, {name}", "ms/GiB", 1.2, [1e3 * value / gibibytes for value in of_receiver[1]["rounds"]])
        steady = method(document, "shm_map")["steady"]["hand_over_seconds"]
        bars.add(f"shm map, steady, {name}", "us", 100, [1e6 * steady[key] for key in ("min", "median", "max")], judged=1e6 * steady["median"])


def many_tensors(bench, bars, turns):
    ratios = {name: [] for name in METHODS}
    for turn in range(turns):
        pair = ["20000x48KiB", "1x960000KiB"]
        documents = {model: bench.run(model) for model in (pair if turn % 2 == 0 else reversed(pair))}
        for name in METHODS:
            many, one = (method(documents[model], name)["steady"]["hand_over_seconds"]["median"] for model in pair)
            ratios[name].append(many / one)
    for name, values in ratios.items():
        bars.add(f"{name}, 20,000 tensors over one slab", "times", 1.15, values)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tool", default="build/bin/wsync")
    options.add_argument("--runs", type=int, default=7, help="rounds of each bench (7)")
    options.add_argument("--turns", type=int, default=3, help="turns of 20,000 tensors and one slab (3)")
    options.add_argument("--dir", default=".", help="where the disk methods write")
    options.add_argument("--output", help="also write the document to this file")
    chosen = options.parse_args()
    bench, bars, quiet = Bench(chosen.tool, chosen.runs, chosen.dir), Bars(), Quiet()
    machine, limits = speed(bench, bars)
    hand_over(bench, bars)
    many_tensors(bench, bars, chosen.turns)
    bars.print()
    taken = quiet.shares()
    print(f"meanwhile the host took {taken['stolen']:.1%} of the processors' time, and other processes {taken['other_processes']:.1%}")
    if chosen.output:
        with open(chosen.output, "w", encoding="utf-8") as file:
            json.dump({"schema": "wsync.bars/1", "machine": machine, "limits": limits, "taken": taken, "bars": bars.rows}, file, indent=2)
            file.write("\n")
    sys.exit(0 if all(row["holds"] for row in bars.rows) else 1)


if __name__ == "__main__":
    main()
