"""Writes the golden files of this folder from the formats' description alone, without wsync."""

import hashlib
import hmac
import pathlib
import struct

HERE = pathlib.Path(__file__).parent


def record(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<HH", 1, 0) + body


def blob(value: bytes) -> bytes:
    return struct.pack("<I", len(value)) + value


def process() -> bytes:
    boot_id, host = b"83f622ba-3c0f-4ca3-a34a-a8409beb401f", b"node-7"
    return blob(boot_id) + blob(host) + struct.pack("<QQQ", 4026531836, 4711, 123456)


client, server = bytes(range(16)), bytes(range(100, 116))
secret, purpose = bytes(range(32)), b"shm"


def proof(role: bytes) -> bytes:
    return hmac.new(secret, b"wsync handshake 1" + role + client + server + purpose, hashlib.sha256).digest()


FILES = {
    "handshake-hello": record(b"WSHS", b"\x01" + client + blob(purpose)),
    "handshake-challenge": record(b"WSHS", b"\x02" + server),
    "handshake-client-proof": record(b"WSHS", b"\x03" + proof(b"c")),
    "handshake-server-proof": record(b"WSHS", b"\x03" + proof(b"s")),
    "handshake-refusal": record(b"WSHS", b"\x04\x01"),
    "descriptor": record(
        b"WSDE",
        blob(b"tcp") + process() + struct.pack("<QBB", 1 << 33, 1, 1) + server
        + struct.pack("<I", 2) + blob(b"tcp:10.0.0.7:4711") + blob(b"tcp:[fd00::7]:4711") + blob(b"\x2a\x00"),
    ),
    "shm-request": record(b"WSSA", server + process()),
    "shm-grant": record(b"WSSG", b"\x00"),
}

for name, content in FILES.items():
    (HERE / f"{name}-1.0.bin").write_bytes(content)
