"""Writes the golden files of this folder from the formats' description alone, without wsync."""

import pathlib
import struct

HERE = pathlib.Path(__file__).parent


def record(kind: bytes, body: bytes, minor: int = 0) -> bytes:
    return kind + struct.pack("<HH", 1, minor) + body


def blob(value: bytes) -> bytes:
    return struct.pack("<I", len(value)) + value


def digest(first: int) -> bytes:
    return bytes(range(first, first + 16))


def process() -> bytes:
    boot_id, host = b"83f622ba-3c0f-4ca3-a34a-a8409beb401f", b"node-7"
    return blob(boot_id) + blob(host) + struct.pack("<QQQ", 4026531836, 4711, 123456)


def box(offset: list[int], size: list[int]) -> bytes:
    return struct.pack("<B", len(offset)) + struct.pack(f"<{2 * len(offset)}Q", *offset, *size)


def frame(kind: int, body: bytes) -> bytes:
    return struct.pack("<B", kind) + body


def version(number: int) -> bytes:
    return blob(b"policy") + blob(b"run-7") + struct.pack("<QQQQ", 3, number, 10 * number, number - 1) + digest(number - 1)


head = record(b"WSHD", version(17))
publication = record(
    b"WSPB",
    struct.pack("<QQIQ", 17, 170, 1, 34) + digest(0x20) + struct.pack("<ddd", 0.25, 1.5, 2.0) + blob(b"/models/policy/v3.17"),
)

granted = struct.pack("<QQIQB", 5, 17, 1, 34, 1) + blob(publication)

FILES = {
    "epoch": record(b"WSEP", struct.pack("<Q", 3) + blob(b"run-7") + struct.pack("<I", 2) + digest(0x30) + bytes(range(32))),
    "rank": record(
        b"WSRK",
        process()
        + struct.pack("<I", 2) + blob(b"unix:/run/wsync/link-1") + blob(b"tcp:10.0.0.7:4711")
        + struct.pack("<I", 2)  # slabs
        + struct.pack("<I", 2) + blob(b"shm") + blob(b"\x01\x02\x03") + blob(b"tcp") + blob(b"\x04")
        + struct.pack("<I", 1) + blob(b"shm") + blob(b"")
        + digest(0x40) + digest(0x50),
    ),
    "publication": publication,
    "head": head,
    "group-round": record(
        b"WSGR",
        struct.pack("<QB", 9, 2) + version(17) + struct.pack("<Q", 8) + version(16) + struct.pack("<BI", 1, 2) + blob(b"rank 2 (engine-2) died"),
    ),
    "group-member": record(b"WSGM", struct.pack("<II", 2, 3) + process() + blob(b"engine-2") + struct.pack("<QB", 9, 1)),
    # Link frames.
    "link-hello": frame(1, record(b"WSLK", process() + blob(b"rollout-3"))),
    "link-blob": frame(2, digest(0x60) + struct.pack("<Q", 1 << 20)),
    "link-hold": frame(3, struct.pack("<QB", 17, 1)),
    "link-check": frame(4, struct.pack("<QB", 5, 1)),
    "link-release": frame(5, struct.pack("<Q", 5)),
    "link-digests": frame(
        6,
        struct.pack("<QI", 5, 3)
        + struct.pack("<I", 0) + box([0, 4], [2, 4])
        + struct.pack("<I", 9) + box([], [])
        + struct.pack("<I", 2) + box([1 << 40], [7]),
    ),
    "link-refusal": frame(64, struct.pack("<B", 1 + 2) + blob(b"version 3 was recycled")),
    "link-done": frame(64, b"\x00"),
    "link-welcome": frame(64, b"\x00" + record(b"WSLK", b"\x01" + blob(head))),
    "link-welcome-without-head": frame(64, b"\x00" + record(b"WSLK", b"\x00")),
    "link-chunk": frame(64, b"\x00" + struct.pack("<Q", (1 << 20) + 3) + b"\x07\x08\x09"),
    "link-granted": frame(64, b"\x00" + granted),
    "link-answers": frame(64, b"\x00" + digest(0x70) + digest(0x80)),
    "link-head": frame(65, blob(head)),
    "link-revoked": frame(66, struct.pack("<Q", 5)),
}

# What a later minor writes otherwise, or anew.
FILES_1_1 = {
    "link-hello": frame(1, record(b"WSLK", process() + blob(b"rollout-3"), 1)),
    "link-claim": frame(7, struct.pack("<Q", 5)),
    "link-welcome": frame(64, b"\x00" + record(b"WSLK", b"\x01" + blob(head), 1)),
    "link-welcome-without-head": frame(64, b"\x00" + record(b"WSLK", b"\x00", 1)),
    "link-offer": frame(67, blob(head) + granted),
}

for minor, files in (("1.0", FILES), ("1.1", FILES_1_1)):
    for name, content in files.items():
        (HERE / f"{name}-{minor}.bin").write_bytes(content)
