#!/usr/bin/env python3
"""From a received version to torch tensors: how long until all of them can be used.

    python bench/torch_views.py [--tensors 20000] [--rounds 41] [--output FILE]

Runs with the Python that has wsync and torch. A version of many small tensors (BF16, some F32 among them) is published and received; then
each round makes all of them torch tensors, in three ways that take turns:

- `wsync`: wsync.torch.tensors(receiver.pin()), as an engine calls it;
- `loop`: nothing but torch.as_strided for each, its arguments at hand: what torch itself needs;
- `dlpack`: torch.from_dlpack of each view, the way that needs no wsync.torch.

Each round gives the time that passed and the time that the thread had a processor: on a machine that does other work they differ.
Every tensor's address, shape and type are checked once, and its values. Prints milliseconds; --output writes wsync.torch_views/1.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import tempfile
import time

import provenance
import torch

import wsync
import wsync.torch

SHAPES = [(64, 32), (2048,), (16, 16, 8), (32, 64)]


def parameters(count):
    """Each element is its tensor's number, as far as the type goes."""
    made = {}
    for i in range(count):
        dtype = torch.float32 if i % 10 == 9 else torch.bfloat16
        made[f"model.layers.{i // 10}.part.{i % 10}.weight"] = torch.full(SHAPES[i % 4], float(i), dtype=dtype)
    return made


def check(views, given, addresses):
    assert list(views) == list(given)
    for name, tensor in given.items():
        view = views[name]
        assert view.data_ptr() == addresses[name] and view.shape == tensor.shape and view.dtype == tensor.dtype and torch.equal(view, tensor), name


def timed(make):
    begin, begin_processor = time.perf_counter(), time.thread_time()
    made = make()
    seconds = time.perf_counter() - begin, time.thread_time() - begin_processor
    del made
    return seconds


def measure(arguments):
    given = parameters(arguments.tensors)
    with tempfile.TemporaryDirectory(prefix="wsync-") as folder, \
            wsync.Session.open(control=f"dir:{folder}", socket_directory=folder + "/sockets") as session, \
            session.publisher("policy", source=given) as publisher, session.receiver("policy") as receiver:
        publisher.publish_from(given, step=1)
        receiver.sync()
        pin = receiver.pin()
        check(wsync.torch.tensors(pin), given, {name: view.address for name, view in pin.items()})
        base = {dtype: torch.zeros(sum(tensor.numel() for tensor in given.values()), dtype=dtype) for dtype in (torch.bfloat16, torch.float32)}
        arguments_of = [(name, base[tensor.dtype], tensor.shape, tensor.stride()) for name, tensor in given.items()]
        ways = {
            "wsync": lambda: wsync.torch.tensors(receiver.pin()),
            "loop": lambda: {name: torch.as_strided(one, shape, stride, 0) for name, one, shape, stride in arguments_of},
            "dlpack": lambda: {name: torch.from_dlpack(view) for name, view in receiver.pin().items()},
        }
        seconds = {way: [] for way in ways}
        for _ in range(arguments.rounds):
            for way, make in ways.items():
                seconds[way].append(timed(make))
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tensors", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--output", type=pathlib.Path)
    arguments = parser.parse_args()
    seconds = measure(arguments)
    for way, rounds in seconds.items():
        for kind, values in zip(("elapsed", "processor"), zip(*rounds, strict=True), strict=True):
            median = statistics.median(values)
            print(f"{way:8} {kind:9} {median * 1e3:7.1f} ms [{min(values) * 1e3:.1f} .. {max(values) * 1e3:.1f}], {median / arguments.tensors * 1e6:.2f} us a tensor")
    if arguments.output:
        document = {"schema": "wsync.torch_views/1", "date": provenance.now(), "commit": provenance.commit("src", "include", "python"),
                    "machine": provenance.machine(), "load": os.getloadavg()[0], "packages": {"python": platform.python_version(), "torch": torch.__version__},
                    "tensors": arguments.tensors,
                    "seconds": {way: [elapsed for elapsed, _ in rounds] for way, rounds in seconds.items()},
                    "processor_seconds": {way: [processor for _, processor in rounds] for way, rounds in seconds.items()}}
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
