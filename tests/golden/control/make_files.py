#!/usr/bin/env python3
"""Writes value.bin, lease.bin and lock.bin from the format's description alone.

Needs the xxhash package. Run once for a new format version; the files are committed and never made again.
"""
import pathlib
import struct

import xxhash

HERE = pathlib.Path(__file__).parent
LEASE_ID = b"0123456789abcdef0123456789abcdef"


def record(kind: bytes, major: int = 1, minor: int = 0) -> bytes:
    return kind + struct.pack("<HH", major, minor)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


def text(value: bytes) -> bytes:
    return struct.pack("<I", len(value)) + value


def sealed(body: bytes) -> bytes:
    return body + xxhash.xxh3_128_digest(body)


value = record(b"WSCV") + u64(42) + text(b"policy/e1/rank/0") + text(LEASE_ID) + text(b"\x00\x01\xff")
owner = text(b"6c7d2f0e-0000-4000-8000-123456789abc") + text(b"trainer-1") + u64(4026531836) + u64(4321) + u64(987654)
lease = record(b"WSCL") + text(LEASE_ID) + u64(5_000_000_000) + owner
counter = 7
(HERE / "value.bin").write_bytes(sealed(value))
(HERE / "lease.bin").write_bytes(sealed(lease) + u64(counter) + u64(counter ^ 0xFFFF_FFFF_FFFF_FFFF))
(HERE / "lock.bin").write_bytes(sealed(record(b"WSCS") + u64(41)))
