"""wsync's safetensors files and those of the official package, read by each other, for every type that both know."""

import argparse
import json
import random
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy
import safetensors
import safetensors.numpy

BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
        "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
        "C64": 64, "F64": 64, "I64": 64, "U64": 64}
# What the official writer calls them; it has no name for the two of 6 bits, which it reads nevertheless.
OFFICIAL = {"BOOL": "bool", "F4": "float4_e2m1fn_x2", "U8": "uint8", "I8": "int8", "F8_E5M2": "float8_e5m2",
            "F8_E4M3": "float8_e4m3fn", "F8_E8M0": "float8_e8m0fnu", "F8_E4M3FNUZ": "float8_e4m3fnuz",
            "F8_E5M2FNUZ": "float8_e5m2fnuz", "I16": "int16", "U16": "uint16", "F16": "float16", "BF16": "bfloat16",
            "I32": "int32", "U32": "uint32", "F32": "float32", "C64": "complex64", "F64": "float64", "I64": "int64",
            "U64": "uint64"}
NUMPY = {"BOOL", "U8", "I8", "I16", "U16", "F16", "I32", "U32", "F32", "C64", "F64", "I64", "U64"}
SHAPES = [[], [0], [3, 0, 2], [8], [5, 4], [1, 2, 3, 4]]


def tensors():
    """Name, type and shape of one tensor for each type and shape that makes whole bytes."""
    for dtype, bits in BITS.items():
        for shape in SHAPES:
            if numpy.prod(shape, dtype=int) * bits % 8 == 0:
                yield f"{dtype.lower()}.{'x'.join(map(str, shape)) or 'scalar'}.é", dtype, shape


def size(dtype, shape):
    return int(numpy.prod(shape, dtype=int)) * BITS[dtype] // 8


def pattern(number, length):
    """The bytes that safetensors_tool writes into tensor `number`."""
    return bytes((i * 31 + number * 7 + 1) & 0xFF for i in range(length))


def run(tool, *arguments, text=""):
    done = subprocess.run([tool, *map(str, arguments)], input=text.encode(), capture_output=True, timeout=60)
    assert done.returncode == 0, f"{arguments}: exit {done.returncode}: {done.stderr.decode()}"
    return done.stdout.decode()


def official_reads_ours(tool, folder):
    path = folder / "ours.safetensors"
    listed = list(tensors())
    run(tool, "write", path, text="".join(f"{dtype} {name} {' '.join(map(str, shape))}\n" for name, dtype, shape in listed))

    header_bytes = 8 + struct.unpack("<Q", path.read_bytes()[:8])[0]
    assert header_bytes % 4096 == 0, f"data begins at {header_bytes}"
    found = dict(safetensors.deserialize(path.read_bytes()))
    assert len(found) == len(listed)
    for number, (name, dtype, shape) in enumerate(listed):
        tensor = found[name]
        assert tensor["dtype"] == dtype and tensor["shape"] == shape, (name, tensor["dtype"], tensor["shape"])
        assert bytes(tensor["data"]) == pattern(number, size(dtype, shape)), name
    with safetensors.safe_open(path, framework="np") as opened:
        assert opened.metadata() == {"format": "pt", "writer": "wsync é漢"}
        for number, (name, dtype, shape) in enumerate(listed):
            if dtype in NUMPY:
                array = opened.get_tensor(name)
                assert array.shape == tuple(shape), name
                assert array.tobytes() == pattern(number, size(dtype, shape)), name
    return len(listed)


def ours_reads_official(tool, folder):
    path = folder / "official.safetensors"
    listed = [entry for entry in tensors() if entry[1] in OFFICIAL]
    buffers, specs = [], {}
    for number, (name, dtype, shape) in enumerate(listed):
        buffers.append(numpy.frombuffer(pattern(number, size(dtype, shape)) or b"\0", dtype=numpy.uint8))
        # The official writer takes the shape that torch has: two elements of 4 bits in one.
        given = shape if dtype != "F4" else shape[:-1] + [shape[-1] // 2]
        specs[name] = safetensors.TensorSpec(dtype=OFFICIAL[dtype], shape=given, data_ptr=buffers[-1].ctypes.data, data_len=size(dtype, shape))
    safetensors.serialize_file(specs, path, metadata={"format": "np", "note": "é\n\"quoted\""})

    said = json.loads(run(tool, "dump", path))
    assert said["metadata"] == {"format": "np", "note": "é\n\"quoted\""}, said["metadata"]
    file, found = path.read_bytes(), {tensor["name"]: tensor for tensor in said["tensors"]}
    assert len(found) == len(listed)
    for number, (name, dtype, shape) in enumerate(listed):
        tensor = found[name]
        assert tensor["dtype"] == dtype and tensor["shape"] == shape, tensor
        assert file[tensor["begin"]:tensor["end"]] == pattern(number, size(dtype, shape)), name

    arrays = {"a": numpy.arange(12, dtype=numpy.float32).reshape(3, 4), "b": numpy.array(True), "c": numpy.zeros((0, 2), numpy.int64)}
    safetensors.numpy.save_file(arrays, path)
    said = json.loads(run(tool, "dump", path))
    for tensor in said["tensors"]:
        assert path.read_bytes()[tensor["begin"]:tensor["end"]] == arrays[tensor["name"]].tobytes(), tensor
    return len(listed)


def what_official_refuses_ours_refuses(tool, folder, seed, rounds):
    """Random damage: a file that wsync takes is one that the official package takes, and says the same of it."""
    draw = random.Random(seed)
    arrays = {"a": numpy.arange(6, dtype=numpy.float32), "b": numpy.arange(4, dtype=numpy.uint8).reshape(2, 2), "c": numpy.array(7, numpy.int16)}
    good = bytearray(safetensors.numpy.save(arrays, metadata={"k": "v"}))
    header_end = 8 + struct.unpack("<Q", good[:8])[0]
    paths = []
    for number in range(rounds):
        bad = bytearray(good)
        for _ in range(draw.randint(1, 2)):
            if len(bad) < header_end:
                break
            at = draw.randrange(header_end) if draw.random() < 0.9 else draw.randrange(8)
            kind = draw.random()
            if kind < 0.5:
                bad[at] = draw.choice(b'0123456789{}[]",:- .eEabcFI\0\n\xff')
            elif kind < 0.7:
                bad[at] ^= 1 << draw.randrange(8)
            elif kind < 0.8:
                del bad[at]
                bad[:8] = struct.pack("<Q", max(0, header_end - 9))
            elif kind < 0.9:
                bad[at:at] = draw.choice([b" ", b"0", b"-", b"]", b"\"", b"1e0", b".0"])
                bad[:8] = struct.pack("<Q", header_end - 8 + len(bad) - len(good))
            elif kind < 0.95:
                del bad[draw.randrange(len(bad)):]
            else:
                bad += bytes(draw.randint(1, 9))
        paths.append(folder / f"damaged-{number}.safetensors")
        paths[-1].write_bytes(bad)
    answers = run(tool, "check", text="".join(f"{path}\n" for path in paths)).splitlines()
    assert len(answers) == len(paths)
    taken = 0
    for path, answer in zip(paths, answers):
        if answer != "ok":
            assert answer.startswith(("corrupt: ", "unsupported: ")), (path.name, answer)
            continue
        taken += 1
        said = {tensor["name"]: tensor for tensor in json.loads(run(tool, "dump", path))["tensors"]}
        theirs = dict(safetensors.deserialize(path.read_bytes()))  # raises where the official package refuses
        assert said.keys() == theirs.keys(), path.name
        for name, tensor in theirs.items():
            assert tensor["shape"] == said[name]["shape"] and tensor["dtype"] == said[name]["dtype"], (path.name, name)
            assert bytes(tensor["data"]) == path.read_bytes()[said[name]["begin"]:said[name]["end"]], (path.name, name)
    assert 0 < taken < rounds, f"{taken} of {rounds} damaged files were taken: the test tests nothing"
    return taken


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tool", required=True, help="the program safetensors_tool")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=1500, help="damaged files")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wsync-test-safetensors-") as name:
        folder = Path(name)
        print(f"safetensors {safetensors.__version__} reads {official_reads_ours(arguments.tool, folder)} tensors of wsync's")
        print(f"wsync reads {ours_reads_official(arguments.tool, folder)} tensors of safetensors'")
        taken = what_official_refuses_ours_refuses(arguments.tool, folder, arguments.seed, arguments.rounds)
        print(f"of {arguments.rounds} damaged files wsync takes {taken}, all of which safetensors takes")


if __name__ == "__main__":
    main()
