"""The faults of the stock Rust kernel, one test each (or a few): none of them may appear here."""

import os
import resource
import signal
import subprocess
import tempfile
import time

import pytest
import zmq

from kernels import alive, descendants, resident_megabytes

FLUSH = "std::io::Write::flush(&mut std::io::stdout()).unwrap();"


# 1, 2: text without a line end


def test_a_flushed_line_without_its_end_neither_hangs_nor_leaks_words_of_the_protocol(kernel):
    assert kernel.ok(f'print!("x"); {FLUSH}').text() == "x"
    assert kernel.ok("1 + 1").value == "2"


def test_flushed_text_before_a_value_is_kept(kernel):
    answer = kernel.ok(f'print!("before"); {FLUSH} 7')
    assert (answer.text(), answer.value) == ("before", "7")


def test_text_that_is_not_flushed_belongs_to_its_own_cell(kernel):
    assert kernel.ok('print!("mine");').text() == "mine"
    assert kernel.ok('println!("next");').text() == "next\n"


def test_words_of_the_protocol_in_the_users_text_are_text(kernel):
    answer = kernel.ok('println!("say EVCXR_EXECUTION_COMPLETE now");')
    assert answer.text() == "say EVCXR_EXECUTION_COMPLETE now\n"


def test_partial_lines_appear_while_the_cell_runs(kernel):
    code = f'for i in 0..4 {{ print!("\\r{{i}}"); {FLUSH} std::thread::sleep(std::time::Duration::from_millis(400)); }}'
    answer = kernel.ok(code)
    pieces = [m for m in answer.messages if m["msg_type"] == "stream"]
    assert "".join(m["content"]["text"] for m in pieces) == "\r0\r1\r2\r3"
    assert len(pieces) == 4
    waits = [b["received"] - a["received"] for a, b in zip(pieces, pieces[1:])]
    assert all(0.2 < wait for wait in waits), waits


# 3: messages that are wrong


def raw_socket(kernel, channel="shell"):
    info = kernel.manager.get_connection_info()
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.linger = 0
    socket.connect(f"tcp://{info['ip']}:{info[f'{channel}_port']}")
    return socket


HEADER = b'{"msg_id":"m","username":"u","session":"s","date":"2026-01-01T00:00:00Z","msg_type":"%s","version":"5.3"}'


def wrong_messages(session):
    header = HEADER % b"kernel_info_request"
    parts = [header, b"{}", b"{}", b"{}"]
    signed = session.sign(parts)
    unknown = [HEADER % b"dance_request", b"{}", b"{}", b"{}"]
    untyped = [HEADER % b"execute_request", b"{}", b"{}", b'{"code": 7}']
    return {
        "wrong signature": [b"<IDS|MSG>", b"0" * 64, *parts],
        "short signature": [b"<IDS|MSG>", b"00", *parts],
        "signature not hexadecimal": [b"<IDS|MSG>", b"xyz", *parts],
        "no signature": [b"<IDS|MSG>"],
        "no delimiter": [b"hello", b"world"],
        "one empty frame": [b""],
        "garbage": [os.urandom(300), os.urandom(20)],
        "too few frames": [b"<IDS|MSG>", signed, header],
        "not JSON": [b"<IDS|MSG>", session.sign([b"{", b"{", b"{", b"{"]), b"{", b"{", b"{", b"{"],
        "unknown type": [b"<IDS|MSG>", session.sign(unknown), *unknown],
        "wrong content": [b"<IDS|MSG>", session.sign(untyped), *untyped],
    }


@pytest.mark.parametrize("channel", ["shell", "control", "stdin"])
def test_wrong_messages_are_dropped_and_the_kernel_lives(kernel, channel):
    socket = raw_socket(kernel, channel)
    for frames in wrong_messages(kernel.client.session).values():
        socket.send_multipart(frames)
    # The same socket still works: the last message arrives behind the wrong ones.
    assert socket.poll(500) == 0
    socket.close()
    assert kernel.ok("40 + 2").value == "42"
    assert kernel.client.is_alive()


def test_buffers_are_not_signed(kernel):
    client = kernel.client
    message = client.session.msg("comm_open", {"comm_id": "b", "target_name": "t", "data": {}})
    client.session.send(client.shell_channel.socket, message, buffers=[b"\0" * 1000])
    assert kernel.ok("5").value == "5"


def test_a_huge_message_is_dropped(kernel):
    socket = raw_socket(kernel)
    socket.send_multipart([b"<IDS|MSG>", b"", b"{" + b" " * (80 << 20)])
    assert kernel.ok("6").value == "6"
    socket.close()


def test_bytes_that_are_not_zeromq_are_dropped(kernel):
    import socket

    info = kernel.manager.get_connection_info()
    for port in ("shell_port", "iopub_port", "hb_port"):
        with socket.create_connection((info["ip"], info[port])) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\n\r\n" + os.urandom(200))
    assert kernel.ok("7").value == "7"
    assert kernel.client.is_alive()


def test_the_heartbeat_is_an_echo(kernel):
    info = kernel.manager.get_connection_info()
    socket = zmq.Context.instance().socket(zmq.REQ)
    socket.linger = 0
    socket.connect(f"tcp://{info['ip']}:{info['hb_port']}")
    for word in (b"ping", b"", b"\0\1\2"):
        socket.send(word)
        assert socket.poll(10_000)
        assert socket.recv() == word
    socket.close()


# 4: failures that count as success are in test_protocol.py


# 5: displays


def test_every_display_of_a_cell_is_shown_in_its_place(kernel):
    answer = kernel.ok(
        'println!("a"); show::html("<b>one</b>"); println!("b"); show::html("<b>two</b>"); 7'
    )
    said = [
        (m["msg_type"], m["content"].get("text") or m["content"].get("data", {}).get("text/html"))
        for m in answer.messages
        if m["msg_type"] in ("stream", "display_data", "execute_result")
    ]
    assert said == [
        ("stream", "a\n"),
        ("display_data", "<b>one</b>"),
        ("stream", "b\n"),
        ("display_data", "<b>two</b>"),
        ("execute_result", None),
    ]


def test_the_markers_of_evcxr_are_understood_as_well(kernel):
    block = 'println!("EVCXR_BEGIN_CONTENT text/html\\n<i>{}</i>\\nEVCXR_END_CONTENT", %d);'
    answer = kernel.ok(block % 1 + block % 2)
    assert [c["data"]["text/html"] for c in answer.of("display_data")] == ["<i>1</i>", "<i>2</i>"]


def test_a_display_is_updated_in_place_while_the_cell_runs(kernel):
    answer = kernel.ok(
        "let mut live = LiveDisplay::new().at_most_every(std::time::Duration::ZERO);"
        'for i in 0..3 { live.update(&Table::new(["step"]).row((format!("step {i}"),))); '
        "std::thread::sleep(std::time::Duration::from_millis(200)); } live.finish();"
    )
    first, *later = answer.of("display_data", "update_display_data")
    identity = first["transient"]["display_id"]
    assert later and all(u["transient"]["display_id"] == identity for u in later)
    assert "step 2" in later[-1]["data"]["text/plain"]


def test_progress_is_one_display_that_changes(kernel):
    answer = kernel.ok(
        "for _ in progress(0..20) { std::thread::sleep(std::time::Duration::from_millis(30)); }"
    )
    (bar,) = answer.of("display_data")
    updates = answer.of("update_display_data")
    assert updates and "20/20" in updates[-1]["data"]["text/plain"]
    assert {u["transient"]["display_id"] for u in updates} == {bar["transient"]["display_id"]}
    assert "<progress" in updates[-1]["data"]["text/html"]


# 6: interrupts


def test_an_interrupt_keeps_the_variables(kernel):
    kernel.ok("let kept = vec![1, 2, 3];")
    cell = kernel.client.execute(
        'println!("begun"); for _ in progress(0..10_000) '
        "{ std::thread::sleep(std::time::Duration::from_millis(20)); }"
    )
    kernel.until_text(cell, "begun")
    kernel.interrupt()
    answer = kernel.wait(cell)
    assert (answer.status, answer.content["ename"]) == ("error", "interrupted")
    assert "panic" not in "".join(answer.content["traceback"]) + answer.text("stderr")
    assert kernel.ok("kept.len()").value == "3"


def test_a_users_own_loop_can_look_for_the_interrupt(kernel):
    kernel.ok("let own = 4;")
    cell = kernel.client.execute(
        'println!("begun"); loop { check_interrupt()?; '
        "std::thread::sleep(std::time::Duration::from_millis(10)); }"
    )
    kernel.until_text(cell, "begun")
    kernel.interrupt()
    assert kernel.wait(cell).content["ename"] == "interrupted"
    assert kernel.ok("own").value == "4"


def test_an_interrupt_while_nothing_runs_changes_nothing(kernel):
    kernel.ok("let idle = 5;")
    kernel.interrupt_and_wait()
    kernel.interrupt_and_wait()
    assert kernel.ok("idle").value == "5"


def test_code_that_never_looks_is_killed_and_the_loss_is_named(kernel):
    kernel.ok("let doomed = 6;")
    cell = kernel.client.execute('println!("begun"); loop {}')
    kernel.until_text(cell, "begun")
    kernel.interrupt()
    kernel.interrupt()
    answer = kernel.wait(cell)
    assert answer.content["ename"] == "interrupted"
    assert "doomed" in "\n".join(answer.content["traceback"])
    assert kernel.ok("1 + 1").value == "2"


def slow_crate(folder, name, seconds):
    """A crate whose build takes its time."""
    (folder / "src").mkdir(parents=True)
    (folder / "Cargo.toml").write_text(
        f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2024"\n[workspace]\n'
    )
    (folder / "src/lib.rs").write_text("pub fn answer() -> u8 { 42 }\n")
    (folder / "build.rs").write_text(
        f"fn main() {{ std::thread::sleep(std::time::Duration::from_secs({seconds})); }}\n"
    )
    return f':dep {name} = {{ path = "{folder}" }}'


def test_adding_a_crate_can_be_interrupted(kernel, tmp_path):
    kernel.ok("let across = 8;")
    add = slow_crate(tmp_path / "slow", "slow_crate", 100)
    cell = kernel.client.execute(add + "\nslow_crate::answer()")
    time.sleep(3)
    before = time.time()
    kernel.interrupt()
    answer = kernel.wait(cell)
    assert answer.content["ename"] == "interrupted"
    assert time.time() - before < 20
    assert kernel.ok("across").value == "8"


# 7: types without the standard library's sources


def test_types_are_inferred_without_installing_anything(kernel):
    kernel.ok("let v = vec![1, 2, 3];")
    kernel.ok('let s = String::from("a");')
    kernel.ok("let total: i32 = v.iter().sum();")
    kernel.ok("let pairs = std::collections::HashMap::from([(1, 2)]);")
    assert kernel.ok("(v, s, total, pairs)").value == '([1, 2, 3], "a", 6, {1: 2})'
    source = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True)
    installed = os.path.isdir(source.stdout.strip() + "/lib/rustlib/src/rust/library")
    assert installed == INSTALLED


INSTALLED = os.path.isdir(
    subprocess.run(
        ["rustc", "--print", "sysroot"], capture_output=True, text=True
    ).stdout.strip()
    + "/lib/rustlib/src/rust/library"
)


# 8: what the kernel weighs


def test_the_kernel_stays_below_the_stock_one(fresh):
    """The stock kernel weighs about 750 MB with dfdx loaded; 450 of them are the standard library."""
    kernel = fresh()
    kernel.ok("let a = randn(4, 4, &mut rng(0));")
    family = [kernel.pid, *descendants(kernel.pid)]
    assert sum(map(resident_megabytes, family)) < 600


# 9: adding crates


def test_progress_of_a_new_crate_is_shown_in_the_notebook(kernel, tmp_path):
    add = slow_crate(tmp_path / "quick", "quick_crate", 2)
    answer = kernel.ok(add + "\nquick_crate::answer()")
    assert answer.value == "42"
    said = answer.text("stdout") + answer.text("stderr") + str(answer.of("display_data", "update_display_data"))
    assert "quick_crate" in said


# 10: threads that outlive their cell


def test_output_of_a_background_thread_arrives_live_and_belongs_to_its_cell(kernel):
    cell = kernel.client.execute(
        'std::thread::spawn(|| for i in 0..3 { std::thread::sleep(std::time::Duration::from_millis(700)); println!("late {i}"); });'
    )
    answer = kernel.wait(cell)
    assert answer.status == "ok"
    assert "late 2" not in answer.text()
    kernel.until_text(cell, "late 2", timeout=30)


# 11: toolchain and session under one top folder


def test_toolchain_and_sessions_may_share_a_top_folder(fresh):
    with tempfile.TemporaryDirectory(dir=os.path.expanduser("~")) as temporary:
        kernel = fresh(env={"TMPDIR": temporary})
        assert kernel.ok("let a = randn(2, 2, &mut rng(0)); a.shape()").value == "(2, 2)"
        kernel.close()


# 12: nothing is left behind


def sessions():
    folder = os.environ.get("REBIT_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "rebit"
    )
    return os.path.join(folder, "sessions")


def test_a_front_end_that_leaves_does_not_stop_its_cell(fresh):
    kernel = fresh()
    cell = kernel.client.execute(
        'println!("begun"); std::thread::sleep(std::time::Duration::from_secs(2)); let left = 5;'
    )
    kernel.until_text(cell, "begun")
    kernel.client.stop_channels()
    kernel.client = kernel.manager.client()
    kernel.client.start_channels()
    kernel.client.wait_for_ready(timeout=120)
    assert kernel.ok("left").value == "5"


@pytest.mark.parametrize("busy", [True, False])
def test_a_killed_kernel_leaves_neither_process_nor_folder(fresh, busy):
    kernel = fresh()
    kernel.ok("1")
    if busy:
        kernel.until_text(kernel.client.execute('println!("begun"); loop {}'), "begun")
    family = descendants(kernel.pid)
    folders = {name for name in os.listdir(sessions()) if name.startswith(f"{kernel.pid}-")}
    assert family and folders
    os.kill(kernel.pid, signal.SIGKILL)
    deadline = time.time() + 2
    while any(map(alive, family)) and time.time() < deadline:
        time.sleep(0.02)
    assert not [pid for pid in family if alive(pid)]
    # A dead kernel cannot clean up: the next one does.
    fresh().ok("1")
    assert not folders & set(os.listdir(sessions()))


def test_memory_that_runs_out_ends_the_child_and_not_the_kernel(kernel):
    kernel.ok("let held = vec![1u8; 1 << 20];")
    runtime = int(kernel.ok("std::process::id()").value)
    # For the process that runs the cells; its successor is free of it.
    resource.prlimit(runtime, resource.RLIMIT_AS, (2 << 30, 2 << 30))
    answer = kernel.run("let mut hoard = Vec::new(); loop { hoard.push(vec![1u8; 64 << 20]); }")
    assert answer.content["ename"] == "crashed"
    assert "memory" in answer.content["evalue"]
    assert "held" in "\n".join(answer.content["traceback"])
    assert kernel.ok("randn(2, 3, &mut rng(1)).shape()").value == "(2, 3)"


def test_when_the_machine_runs_out_of_memory_the_cells_go_first(kernel):
    runtime = int(kernel.ok("std::process::id()").value)
    score = [int(open(f"/proc/{pid}/oom_score_adj").read()) for pid in (kernel.pid, runtime)]
    assert score[1] > score[0]


def test_a_full_disk_is_named(tmp_path):
    """The library's cache on a file system of 24 MB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    try:
        done = subprocess.run(
            [os.environ["REBIT"], "repl"],
            input="1 + 1\n",
            env={**os.environ, "REBIT_CACHE": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=600,
        )
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
    assert done.returncode == 1
    assert "disk is full" in done.stderr and "REBIT_CACHE" in done.stderr
    assert "panicked" not in done.stderr


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("std::process::abort()", "SIGABRT"),
        ("std::process::exit(3)", "status 3"),
        ("fn down(n: u64) -> u64 { if n == u64::MAX { 0 } else { 1 + std::hint::black_box(down(n + 1)) } } down(0)", "overflow"),
        ("unsafe { std::ptr::null::<u8>().read_volatile() }", "SIGSEGV"),
    ],
)
def test_the_child_may_die_and_the_kernel_goes_on(kernel, code, said):
    kernel.ok("let gone = 9;")
    answer = kernel.run(code)
    assert answer.content["ename"] == "crashed"
    report = answer.content["evalue"] + "\n".join(answer.content["traceback"])
    assert said in report and "gone" in report
    assert kernel.ok("let a = randn(2, 3, &mut rng(1)); a.shape()").value == "(2, 3)"


# Much output


def test_many_lines_travel_in_few_messages(kernel):
    answer = kernel.ok('for i in 0..20_000 { println!("{i}"); }')
    assert answer.text() == "".join(f"{i}\n" for i in range(20_000))
    assert len(answer.of("stream")) < 1000


def test_a_hundred_megabytes_do_not_exhaust_the_memory(kernel):
    before = resident_megabytes(kernel.pid)
    answer = kernel.ok('let line = "x".repeat(999); for _ in 0..100_000 { println!("{line}"); }')
    assert len(answer.text()) == 100_000_000
    assert resident_megabytes(kernel.pid) < before + 60
