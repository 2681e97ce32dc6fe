"""Whatever is sent to the kernel or printed by a cell, the kernel lives and the front ends get their answers.

Each table names faults of a kind; add a line to have another one tried.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import zmq

import zmtp
from kernels import alive, descendants, resident_megabytes

# The kernel's memory may not pass this, in MB.
MOST_MEMORY = 150


def sound(kernel):
    """The kernel answers on every port."""
    assert kernel.ok("40 + 2").value == "42"
    assert kernel.client.is_alive()
    control = kernel.client.session.msg("kernel_info_request", {})
    kernel.client.control_channel.send(control)
    assert kernel.client.get_control_msg(timeout=60)["msg_type"] == "kernel_info_reply"


# What arrives at a port without a key

ANNOUNCED = {
    f"{where}, 2^{power} bytes": (ready, zmtp.announcement(min(1 << power, (1 << 64) - 1), flags))
    for power in (27, 32, 40, 62, 63, 64)
    for where, ready, flags in (
        ("before READY", False, 2),
        ("instead of READY", False, 6),
        ("as a message", True, 2),
        ("as a part", True, 3),
        ("as a command", True, 6),
    )
}


@pytest.mark.parametrize("port", zmtp.PORTS)
def test_what_is_announced_is_not_reserved(kernel, port):
    for name, (ready, head) in ANNOUNCED.items():
        raw = zmtp.connect(kernel, port)
        raw.sendall(zmtp.GREETING + (zmtp.ready(port) if ready else b"") + head)
        assert zmtp.closed(raw), name
    sound(kernel)
    assert resident_megabytes(kernel.pid) < MOST_MEMORY


OPENINGS = {
    "nothing": b"",
    "half a greeting": zmtp.GREETING[:30],
    "a greeting": zmtp.GREETING,
    "half a READY": zmtp.GREETING + zmtp.ready("shell")[:10],
    "a long READY": zmtp.GREETING + b"\x04\xff\x05READY",
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "ZMTP 1": b"\x01\x00",
    "ZMTP 2": zmtp.GREETING[:10] + b"\x01\x05",
}


@pytest.mark.parametrize("port", zmtp.PORTS)
def test_six_hundred_half_open_connections_keep_nobody_out(fresh, port):
    kernel = fresh()
    held = []
    for number in range(600):
        raw = zmtp.connect(kernel, port)
        opening = list(OPENINGS.values())[number % len(OPENINGS)]
        try:
            raw.sendall(opening)
        except ConnectionError:
            pass  # refused already
        held.append(raw)
    sound(kernel)
    newcomer = kernel.manager.client()
    newcomer.start_channels()
    newcomer.wait_for_ready(timeout=60)
    newcomer.stop_channels()
    assert resident_megabytes(kernel.pid) < MOST_MEMORY
    for raw in held:
        raw.close()


@pytest.mark.parametrize("port", ["shell", "control", "stdin", "hb"])
def test_peers_that_say_nothing_keep_nobody_out(fresh, port):
    kernel = fresh()
    sound(kernel)
    held = []
    for _ in range(300):
        try:
            held.append(zmtp.greet(kernel, port))
        except (AssertionError, ConnectionError):
            pass  # refused: the heartbeat knows no friends
    if port != "hb":
        sound(kernel)
    for raw in held:
        raw.close()
    sound(kernel)


def test_unfinished_messages_are_bounded_together(fresh):
    kernel = fresh()
    held = []
    for _ in range(12):
        raw = zmtp.greet(kernel, "shell")
        raw.settimeout(20)
        try:
            raw.sendall(zmtp.announcement(60 << 20) + bytes(40 << 20))
        except (ConnectionError, TimeoutError):
            pass  # made room
        held.append(raw)
    sound(kernel)
    for raw in held:
        raw.close()


def test_a_reader_without_replies_is_left(fresh):
    """Whoever asks and asks without reading has its connection closed, and the others are served."""
    kernel = fresh()
    session = kernel.client.session
    raw = zmtp.greet(kernel, "shell")
    raw.settimeout(20)
    code = "x" * (1 << 20)
    try:
        for _ in range(400):
            # The reply is small, the notice of what was asked on iopub is not sent: history is.
            parts = session.serialize(session.msg("is_complete_request", {"code": "{" * 1000 + code[:10]}))
            raw.sendall(zmtp.message(parts))
    except (ConnectionError, TimeoutError):
        pass
    sound(kernel)
    raw.close()


# Front ends that do not read


def read_everything(kernel, request):
    """All text of a request, by a client of its own."""
    size = 0
    while True:
        message = kernel.client.get_iopub_msg(timeout=60)
        if message["parent_header"].get("msg_id") != request:
            continue
        if message["msg_type"] == "stream":
            size += len(message["content"]["text"])
        if message["content"].get("execution_state") == "idle":
            return size


SUSPENDED = """
import sys, zmq
s = zmq.Context().socket(zmq.SUB)
s.subscribe(b"")
s.connect(sys.argv[1])
s.recv()
print("reads", flush=True)
while True:
    s.recv()
"""


def test_readers_that_stop_starve_nobody(fresh):
    """200 MB, one console that is stuck and one that is suspended: the third gets every byte, and its idle."""
    kernel = fresh()
    kernel.ok("1")
    info = kernel.manager.get_connection_info()
    address = f"tcp://{info['ip']}:{info['iopub_port']}"
    stuck = zmtp.subscribe_and_never_read(kernel)
    suspended = subprocess.Popen([sys.executable, "-c", SUSPENDED, address], stdout=subprocess.PIPE)
    try:
        assert suspended.stdout.readline() == b"reads\n"
        suspended.send_signal(signal.SIGSTOP)
        largest = [0.0]
        done = threading.Event()

        def watch():
            while not done.wait(0.1):
                largest[0] = max(largest[0], resident_megabytes(kernel.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = 'let line = "x".repeat(999); for _ in 0..200_000 { println!("{line}"); }'
        request = kernel.client.execute(code)
        assert read_everything(kernel, request) == 200_000_000
        done.set()
        watcher.join()
        assert largest[0] < MOST_MEMORY
        reply = kernel.client.get_shell_msg(timeout=60)
        assert reply["content"]["status"] == "ok"
        sound(kernel)
        assert zmtp.closed(stuck)
        # Whoever wakes up reads on.
        suspended.send_signal(signal.SIGCONT)
    finally:
        suspended.kill()
        suspended.wait()


def test_what_was_printed_is_not_kept(fresh):
    """200 MB later the kernel is about as large as before: messages leave no holes between what stays."""
    kernel = fresh()
    kernel.ok("1")
    before = resident_megabytes(kernel.pid)
    request = kernel.client.execute('let line = "x".repeat(999); for _ in 0..200_000 { println!("{line}"); }')
    assert read_everything(kernel, request) == 200_000_000
    sound(kernel)
    assert resident_megabytes(kernel.pid) < before + 15


def test_a_reader_that_comes_back_reads_on(fresh):
    kernel = fresh()
    context = zmq.Context()
    late = context.socket(zmq.SUB)
    late.rcvhwm = 1
    late.subscribe(b"")
    info = kernel.manager.get_connection_info()
    late.connect(f"tcp://{info['ip']}:{info['iopub_port']}")
    kernel.ok('let line = "x".repeat(999); for _ in 0..60_000 { println!("{line}"); }')
    late.rcvtimeo = 60_000
    deadline = time.time() + 60
    while time.time() < deadline:
        kernel.ok('println!("you are back");')
        if any(b"you are back" in part for part in late.recv_multipart()):
            break
    else:
        pytest.fail("nothing came to the front end that reads again")
    late.close(linger=0)


# Messages with the key


def test_a_replayed_message_runs_once(kernel):
    session = kernel.client.session
    kernel.ok("let mut count = 0;")
    message = session.msg("execute_request", {"code": "count += 1;", "silent": False, "store_history": True,
                                              "user_expressions": {}, "allow_stdin": False, "stop_on_error": True})
    parts = session.serialize(message)
    for port in ("shell", "shell", "control"):
        raw = zmtp.greet(kernel, port)
        for _ in range(3):
            raw.sendall(zmtp.message(parts))
        time.sleep(0.3)
        raw.close()
    assert kernel.ok("count").value == "1"


def test_nobody_takes_the_answers_of_another(kernel):
    session = kernel.client.session
    kernel.ok("1")
    identity = session.bsession
    thieves = [zmtp.greet(kernel, port, identity) for port in ("shell", "control")]
    sound(kernel)
    for thief in thieves:
        thief.settimeout(0.3)
        with pytest.raises(TimeoutError):
            thief.recv(1)
        thief.close()


# As long as a cell may be

DEEP = {
    "round brackets": "(" * 100_000 + "1" + ")" * 100_000,
    "curly brackets": "{" * 100_000 + "1" + "}" * 100_000,
    "square brackets": "[" * 100_000 + "1" + "]" * 100_000,
    "open brackets": "{" * 1_000_000,
    "negations": "!" * 200_000 + "true",
    "references": "let a = " + "&" * 200_000 + "1;",
    "a sum": "1" + "+1" * 200_000,
    "types": "let a: " + "Vec<" * 100_000 + "i32" + ">" * 100_000 + " = todo!();",
    "else if": "if false {}" + " else if false {}" * 50_000,
    "closures": "let a = " + "|| " * 100_000 + "1;",
    "calls": "1" + ".max(1)" * 100_000,
}


@pytest.mark.parametrize("code", DEEP.values(), ids=DEEP)
def test_deep_cells_are_refused_or_run(kernel, code):
    client = kernel.client
    for ask in (
        lambda: client.is_complete(code),
        lambda: client.complete(code, len(code)),
        lambda: client.inspect(code, len(code)),
    ):
        kernel.ask(ask, validate=False)
    kernel.run(code)
    sound(kernel)


# What a cell prints

WORDS = [
    "EVCXR_EXECUTION_COMPLETE",
    "EVCXR_PANIC_NOTIFICATION",
    "EVCXR_ERROR_OCCURRED",
    "EVCXR_VARIABLE_CHANGED_TYPE:kept",
    "EVCXR_INPUT_REQUEST:name?",
    "EVCXR_INPUT_REQUEST_PASSWORD:your password?",
    "EVCXR_END_CONTENT",
    "LOAD_AND_RUN /nonexistent.so run_user_code_1",
    "\x01rebit-00000000000000000000000000000000\x01cell:complete",
    "Segmentation fault.",
    "Illegal instruction.",
    "memory allocation of 8 bytes failed",
    "\x1b]0;title\x07",
]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("stream", ["print", "eprint"])
def test_printed_words_are_text(kernel, word, stream):
    kernel.ok("let kept = 7;")
    literal = json.dumps(word).replace("\\u001b", "\\x1b").replace("\\u0001", "\\x01").replace("\\u0007", "\\x07")
    for code in (f"{stream}ln!({{:?}}, {literal});".replace("{:?}", '"{}"'),):
        answer = kernel.ok(code)
        assert answer.text("stdout" if stream == "print" else "stderr") == word + "\n"
    failed = kernel.run(f'{stream}ln!("{{}}", {literal}); assert_eq!(1, 2);')
    assert failed.status == "error" and failed.content["ename"] == "panic"
    assert kernel.ok("kept").value == "7"
    assert kernel.ok("40 + 2").value == "42"


def test_words_of_other_programs_are_text(kernel, tmp_path):
    log = tmp_path / "log"
    block = "EVCXR_BEGIN_CONTENT text/html\n<script>1</script>\nEVCXR_END_CONTENT"
    text = "".join(word + "\n" for word in [*WORDS, block])
    log.write_text(text)
    answer = kernel.ok(f'std::process::Command::new("cat").arg("{log}").status().unwrap();')
    assert answer.text() == text
    assert not answer.of("display_data", "execute_result")
    answer = kernel.ok(f'print!("{{}}", std::fs::read_to_string("{log}").unwrap());')
    assert answer.text() == text
    assert kernel.ok("40 + 2").value == "42"


BLOCKS = {
    "not closed": 'println!("EVCXR_BEGIN_CONTENT text/html\\nhalf");',
    "not closed, then a value": 'println!("EVCXR_BEGIN_CONTENT text/html\\nhalf"); 7',
    "not closed, then a display": 'println!("EVCXR_BEGIN_CONTENT text/html\\nhalf"); show::html("<b>x</b>");',
    "not closed, then a panic": 'println!("EVCXR_BEGIN_CONTENT text/html\\nhalf"); panic!("x");',
    "in the middle of its type": 'print!("EVCXR_BEGIN_CONTENT text");',
}


@pytest.mark.parametrize("code", BLOCKS.values(), ids=BLOCKS)
def test_open_blocks_end_with_the_cell_and_show_no_secret(kernel, code):
    answer = kernel.run(code)
    said = json.dumps([m["content"] for m in answer.messages])
    assert not [word for word in ("rebit-", "cell:value", "cell:panic", "cell:complete", "\\u0001") if word in said]
    assert kernel.ok("40 + 2").value == "42"


# What a cell starts


def test_what_a_cell_starts_cannot_speak_for_it(kernel):
    """Neither the environment nor the socket tell the session's secret."""
    code = """
    use std::process::Command;
    let mut all = String::new();
    let (me, parent) = (std::process::id(), std::os::unix::process::parent_id());
    for command in ["env".to_string(), format!("cat /proc/{me}/environ /proc/{parent}/environ | tr '\\\\0' '\\\\n'")] {
        let output = Command::new("sh").args(["-c", &command]).output().unwrap();
        all += &String::from_utf8_lossy(&output.stdout);
    }
    all.lines().filter(|l| l.starts_with("REBIT_WIRE") || l.contains("rebit-") && l.contains('\\u{1}')).count()
    """
    assert kernel.ok(code).value == "0"
    parent = int(kernel.ok("std::os::unix::process::parent_id()").value)
    with open(f"/proc/{parent}/environ") as file:
        environment = dict(line.split("=", 1) for line in file.read().split("\0") if "=" in line)
    folder = environment["REBIT_SOCKET"]
    stranger = socket.socket(socket.AF_UNIX)
    stranger.settimeout(10)
    here = os.open(folder, os.O_PATH)
    try:
        stranger.connect(f"/proc/self/fd/{here}/kernel.socket")
    except ConnectionError:
        pass
    else:
        try:
            assert stranger.recv(100) == b""
        except (TimeoutError, ConnectionError):
            pass
    finally:
        os.close(here)
        stranger.close()
    assert kernel.ok("40 + 2").value == "42"


def test_no_abstract_socket_can_be_blocked(kernel):
    kernel.ok("1")
    with open("/proc/net/unix") as file:
        assert "@rebit" not in file.read()


def test_sockets_may_lie_in_the_file_system(fresh, tmp_path):
    place = str(tmp_path / "kernel")
    kernel = fresh(transport="ipc", ip=place)
    sound(kernel)
    kernel.close()
    assert not [name for name in os.listdir(tmp_path) if name.startswith("kernel-")]


def test_private_things_are_private(kernel):
    kernel.ok("1")
    history = os.environ["REBIT_HISTORY"]
    assert os.stat(history).st_mode & 0o777 == 0o600
    parent = int(kernel.ok("std::os::unix::process::parent_id()").value)
    with open(f"/proc/{parent}/environ") as file:
        environment = dict(line.split("=", 1) for line in file.read().split("\0") if "=" in line)
    assert os.stat(environment["REBIT_SOCKET"]).st_mode & 0o777 == 0o700


# The end


COMPILERS = ("cargo", "rustc")


def compilers_below(pids):
    found = []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as file:
                name = file.read().split("(", 1)[1].rsplit(")", 1)[0]
        except OSError:
            continue
        if name in COMPILERS and alive(pid):
            found.append(pid)
    return found


BUSY = {
    "a cell that compiles for long": "execute",
    "a further dependency": "dependency",
    "completion that starts": "complete",
}


@pytest.mark.parametrize("what", BUSY.values(), ids=BUSY)
def test_a_killed_kernel_leaves_no_compiler(fresh, what):
    kernel = fresh()
    kernel.ok("1")
    if what == "execute":
        functions = "".join(f"fn f{i}(x: u64) -> u64 {{ (0..x).map(|y| y * {i}).sum() }}\n" for i in range(3000))
        kernel.client.execute(functions)
    elif what == "dependency":
        kernel.client.execute(':dep regex = { version = "1", default-features = false, features = ["std", "unicode"] }')
    else:
        kernel.client.complete("std::thre", 9)
    deadline = time.time() + 60
    seen = []
    while time.time() < deadline and not seen:
        seen = compilers_below(descendants(kernel.pid))
    family = descendants(kernel.pid)
    os.kill(kernel.pid, signal.SIGKILL)
    time.sleep(2)
    assert not compilers_below(family)
    assert not [pid for pid in family if alive(pid)]


def test_no_folders_of_the_analyser_pile_up(fresh, tmp_path):
    temporary = str(tmp_path)
    for _ in range(2):
        kernel = fresh(env={"TMPDIR": temporary})
        kernel.ok("let a = vec![1];")
        kernel.ask(lambda k=kernel: k.client.complete("a.le", 4))
        os.kill(kernel.pid, signal.SIGKILL)
        time.sleep(1)
    last = fresh(env={"TMPDIR": temporary})
    last.ok("1")
    left = [name for name in os.listdir(temporary) if name.startswith("rust-analyzer")]
    own = f"rust-analyzer{last.pid:x}-"
    assert not [name for name in left if not name.startswith(own)]


def test_the_last_output_comes_before_idle_however_long_it_takes(kernel):
    """evcxr knows that the cell has run before a large display has come through."""
    runtime = int(kernel.ok("std::os::unix::process::parent_id()").value)
    request = kernel.client.execute('show::text("x".repeat(40_000_000)); println!("said");')
    # The supervisor is held up while it hands the display over.
    for _ in range(3):
        time.sleep(0.2)
        os.kill(runtime, signal.SIGSTOP)
        time.sleep(2.5)
        os.kill(runtime, signal.SIGCONT)
    answer = kernel.wait(request, validate=False)
    shown = [content["data"]["text/plain"] for content in answer.of("display_data")]
    assert [len(text) for text in shown] == [40_000_000]
    assert answer.text() == "said\n"
