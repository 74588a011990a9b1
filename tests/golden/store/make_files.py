#!/usr/bin/env python3
"""Writes wsync-1.0.json, digests-1.0.bin, digests-2.0.bin, part-1.0.bin and file-descriptor-1.0.bin from the formats' descriptions alone.

Run once for a new format version; the files are committed and never made again.
"""
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
BF16, F32 = 14, 17  # places in safetensors' own list of types


def record(kind: bytes, major: int = 1, minor: int = 0) -> bytes:
    return kind + struct.pack("<HH", major, minor)


def u8(value: int) -> bytes:
    return struct.pack("<B", value)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


def blob(value: bytes) -> bytes:
    return u32(len(value)) + value


def digest(first: int) -> bytes:
    return bytes(first + i for i in range(16))


def tensor(name: bytes, dtype: int, shape: list[int]) -> bytes:
    return blob(name) + u8(dtype) + u8(len(shape)) + b"".join(u64(extent) for extent in shape)


manifest = record(b"WMAN") + u32(2) + tensor(b"a", BF16, [2, 3]) + tensor(b"b", F32, [])
blocks = record(b"WSDL") + u32(2) + u64(1) + u64(1) + digest(1) + digest(2)
(HERE / "digests-1.0.bin").write_bytes(record(b"WSVD") + blob(manifest) + blob(blocks))



def box(tensor_number: int, offset: list[int], size: list[int]) -> bytes:
    return u32(0) + u32(tensor_number) + b"".join(u64(extent) for extent in offset + size)


# One rank, full coverage (0), its shards.
boxes = record(b"WLAY") + blob(manifest) + u32(1) + u8(0) + u32(3) + box(0, [0, 0], [2, 1]) + box(0, [0, 1], [2, 2]) + box(1, [], [])
box_blocks = record(b"WSDL") + u32(3) + u64(1) + u64(1) + u64(1) + digest(1) + digest(2) + digest(3)
(HERE / "digests-2.0.bin").write_bytes(record(b"WSVD", 2) + blob(boxes) + blob(box_blocks))

(HERE / "part-1.0.bin").write_bytes(
    record(b"WSVP") + blob(b"policy") + blob(b"run-7") + u64(3) + u64(17) + u64(170) + u64(16) + u32(1) + u32(3) + digest(0x20) + digest(0x30) + blob(blocks)
)

(HERE / "file-descriptor-1.0.bin").write_bytes(
    record(b"WFIL")
    + blob(b"01234567-89ab-cdef-0123-456789abcdef")
    + blob(b"trainer-1")
    + blob(b"/models/policy/v3.17/model.safetensors")
    + u64(0x0801) + u64(12345) + u64(1_000_000) + u64(4096) + u64(900_000) + u8(1)
)

document = {
    "schema": "wsync.version/1",
    "minor": 0,
    "name": "policy",
    "run": "run-7",
    "epoch": 3,
    "number": 17,
    "step": 170,
    "parent": 16,
    "digest": digest(0x10).hex(),
    "layout_digest": digest(0x20).hex(),
    "content_digest": digest(0x30).hex(),
    "files": [
        {"name": "model-00001-of-00002.safetensors", "bytes": 5_000_004_096, "header_digest": digest(0x40).hex()},
        {"name": "model-00002-of-00002.safetensors", "bytes": 4352, "header_digest": digest(0x50).hex()},
    ],
    "side_files": [
        {"name": "wsync.digests", "bytes": 1234, "digest": digest(0x60).hex()},
        {"name": "model.safetensors.index.json", "bytes": 321, "digest": digest(0x70).hex()},
    ],
    "complete": True,
}
(HERE / "wsync-1.0.json").write_text(json.dumps(document, indent=2) + "\n")
