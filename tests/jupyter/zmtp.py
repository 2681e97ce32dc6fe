"""ZMTP byte by byte, for peers that do not keep to it."""

import os
import socket
import struct

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
KINDS = {"shell": b"DEALER", "control": b"DEALER", "stdin": b"DEALER", "iopub": b"SUB", "hb": b"REQ"}
PORTS = list(KINDS)


def frame(body, more=False, command=False):
    flags = more | command << 2
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return bytes([flags | 2]) + struct.pack(">Q", len(body)) + body


def announcement(length, flags=2):
    """The head of a frame that is not followed by its body."""
    return bytes([flags]) + struct.pack(">Q", length)


def ready(channel, identity=b""):
    body = b"\x05READY"
    for name, value in ((b"Socket-Type", KINDS[channel]), (b"Identity", identity)):
        body += bytes([len(name)]) + name + struct.pack(">I", len(value)) + value
    return frame(body, command=True)


def message(frames):
    return b"".join(frame(f, more=at + 1 < len(frames)) for at, f in enumerate(frames))


def connect(kernel, channel):
    info = kernel.manager.get_connection_info()
    raw = socket.create_connection((info["ip"], info[f"{channel}_port"]))
    raw.settimeout(60)
    return raw


def greet(kernel, channel, identity=b""):
    """A connection whose greeting is over."""
    raw = connect(kernel, channel)
    raw.sendall(GREETING + ready(channel, identity))
    need = 64 + 2
    got = b""
    while len(got) < need:
        part = raw.recv(4096)
        assert part, "the kernel closed the connection"
        got += part
        if len(got) >= 66:
            need = 66 + got[65]
    return raw


def closed(raw):
    """Waits until the kernel has closed the connection."""
    try:
        while raw.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    finally:
        raw.close()
    return True


def subscribe_and_never_read(kernel):
    raw = greet(kernel, "iopub")
    raw.sendall(frame(b"\x01"))
    return raw


def garbage(random, longest=300):
    return random.randbytes(random.randrange(longest))


def mutated(random, data):
    """`data` with some bytes changed, cut out or put in."""
    data = bytearray(data)
    for _ in range(random.randrange(1, 6)):
        at = random.randrange(len(data) + 1)
        match random.randrange(4):
            case 0 if at < len(data):
                data[at] = random.randrange(256)
            case 1:
                del data[at : at + random.randrange(1, 9)]
            case 2:
                data[at:at] = random.randbytes(random.randrange(1, 9))
            case _:
                data[at:at] = data[: random.randrange(len(data) + 1)]
    return bytes(data)


def seed():
    """For repeating a run: FUZZ_SEED."""
    return int(os.environ.get("FUZZ_SEED") or int.from_bytes(os.urandom(4), "big"))
