"""Frames at random: 100,000 of them on all sockets. Slow; `./tests/run slow` runs it.

FUZZ_FRAMES  how many (default 100,000)
FUZZ_SEED    the seed that a failing run has printed
"""

import json
import os
import random as randomness
import time

import pytest

import zmtp
from kernels import resident_megabytes

FRAMES = int(os.environ.get("FUZZ_FRAMES", 100_000))
# Everything that a client may send, but for what ends the kernel or takes its time.
CONTENT = {
    "kernel_info_request": {},
    "is_complete_request": {"code": "fn f() {"},
    "history_request": {"hist_access_type": "tail", "n": 3, "output": True, "raw": True},
    "comm_open": {"comm_id": "c", "target_name": "t", "data": {"a": [1, None, "x"]}},
    "comm_msg": {"comm_id": "c", "data": {}},
    "comm_info_request": {"target_name": "t"},
    "connect_request": {},
    "input_reply": {"value": "x", "status": "ok"},
    "interrupt_request": {},
    "dance_request": {"tempo": 3},
}


def stream_of_frames(random, port, session):
    """Bytes of one frame or message, in one of the ways to be wrong."""
    kind = random.choice(list(CONTENT))
    message = session.msg(kind, CONTENT[kind])
    parts = session.serialize(message)
    match random.randrange(5):
        case 0:
            return zmtp.garbage(random)
        case 1:
            return zmtp.mutated(random, zmtp.message(parts))
        case 2:
            # Whole frames, the wrong ones.
            frames = [zmtp.garbage(random, 60) if random.random() < 0.3 else part for part in parts]
            random.shuffle(frames)
            return zmtp.message(frames)
        case 3:
            # Signed, so that what reads the content sees it.
            signed = [zmtp.mutated(random, part) if random.random() < 0.5 else part for part in parts[2:6]]
            return zmtp.message([b"<IDS|MSG>", session.sign(signed), *signed])
        case _:
            values = random.choice([None, -1, 1e308, "\0", [], {}, [[[[]]]], "x" * 5000, True])
            content = {key: values if random.random() < 0.5 else value for key, value in CONTENT[kind].items()}
            message["content"] = content
            return zmtp.message(session.serialize(message))


@pytest.mark.slow
def test_a_hundred_thousand_frames_at_random(fresh):
    seed = zmtp.seed()
    print(f"FUZZ_SEED={seed}")
    random = randomness.Random(seed)
    kernel = fresh()
    kernel.ok("let kept = 7;")
    session = kernel.client.session
    raws = dict.fromkeys(zmtp.PORTS)
    sent = 0
    begin = time.time()
    while sent < FRAMES:
        port = random.choice(zmtp.PORTS)
        data = stream_of_frames(random, port, session)
        try:
            if raws[port] is None:
                # Now and then not even the greeting is right.
                wrong = random.random() < 0.1
                raws[port] = zmtp.connect(kernel, port) if wrong else zmtp.greet(kernel, port)
                raws[port].settimeout(5)
            raws[port].sendall(data)
            sent += 1
            raws[port].setblocking(False)
            try:
                while raws[port].recv(1 << 16):
                    pass
                raise ConnectionError
            except BlockingIOError:
                raws[port].settimeout(5)
        except (OSError, AssertionError):
            if raws[port] is not None:
                raws[port].close()
            raws[port] = None
        if sent % 10_000 == 0:
            assert kernel.ok("kept").value == "7"
            assert kernel.client.is_alive()
    print(f"{sent} frames in {time.time() - begin:.0f} s, {json.dumps(resident_megabytes(kernel.pid))} MB")
    for raw in raws.values():
        if raw is not None:
            raw.close()
    assert kernel.ok("kept").value == "7"
    assert resident_megabytes(kernel.pid) < 150
