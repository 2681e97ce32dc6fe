"""The messaging protocol, request by request."""

import time

import pytest

from kernels import PATIENCE, descendants, resident_megabytes


def test_kernel_info_comes_before_the_session_is_ready(fresh):
    kernel = fresh()
    info = kernel.ask(kernel.client.kernel_info).content
    assert info["protocol_version"].startswith("5.")
    assert tuple(map(int, info["protocol_version"].split("."))) >= (5, 4)
    language = info["language_info"]
    assert (language["name"], language["file_extension"]) == ("rust", ".rs")
    assert language["pygments_lexer"] == "rust" and language["version"]
    assert kernel.welcome["msg_type"] == "iopub_welcome"


def test_a_cell_that_waits_for_the_session_is_told_so(fresh):
    answer = fresh().ok("2 * 2")
    assert answer.value == "4"
    states = [c["execution_state"] for c in answer.of("status")]
    assert states == ["busy", "idle"]
    kinds = [m["msg_type"] for m in answer.messages]
    if "display_data" in kinds:
        # The notice is taken away again before the cell says anything.
        assert kinds[:4] == ["status", "display_data", "clear_output", "execute_input"]


def test_counting_starts_at_one_and_skips_what_is_not_stored(fresh):
    kernel = fresh()
    assert kernel.ok("1").content["execution_count"] == 1
    assert kernel.ok("2", store_history=False).content["execution_count"] == 1
    silent = kernel.ok('println!("x"); 3', silent=True)
    assert [m["msg_type"] for m in silent.messages] == ["status", "status"]
    second = kernel.ok("4")
    assert second.content["execution_count"] == 2
    assert second.of("execute_input") == [{"code": "4", "execution_count": 2}]
    assert second.of("execute_result")[0]["execution_count"] == 2


def test_user_expressions(kernel):
    kernel.ok("let counted = 5;")
    answer = kernel.ok("();", user_expressions={"six": "counted + 1", "bad": "counted + nothing"})
    found = answer.content["user_expressions"]
    assert found["six"]["status"] == "ok"
    assert found["six"]["data"]["text/plain"] == "6"
    assert found["bad"]["status"] == "error"
    assert found["bad"]["ename"].startswith("E0") and found["bad"]["traceback"]


def test_a_failure_aborts_what_waits_and_nothing_else(kernel):
    send = kernel.client.execute
    first = send("std::thread::sleep(std::time::Duration::from_millis(300)); panic!()")
    waiting = [send("1"), send("2")]
    statuses = {}
    for _ in range(3):
        reply = kernel.client.get_shell_msg(timeout=120)
        statuses[reply["parent_header"]["msg_id"]] = reply["content"]["status"]
    assert [statuses[request] for request in [first, *waiting]] == ["error", "aborted", "aborted"]
    assert kernel.ok("3").value == "3"

    first, second = send("panic!()", stop_on_error=False), send("4")
    replies = [kernel.client.get_shell_msg(timeout=120) for _ in range(2)]
    assert [r["parent_header"]["msg_id"] for r in replies] == [first, second]
    assert [r["content"]["status"] for r in replies] == ["error", "ok"]


@pytest.mark.parametrize(
    ("code", "ename", "said"),
    [
        ('let n: u8 = "text";', "E0308", "mismatched types"),
        ("no_such_name", "E0425", "no_such_name"),
        ("let x = ;", "error", "expected expression"),
        ("let = 1;", "error", "expected pattern"),
        (":vars\nlet = 1;\nlet y = 2;", "error", "cell:2:5"),
        ("a b", "error", "expected"),
        ("fn f( {}", "error", ""),
        ("1 +", "error", ""),
        ('panic!("went wrong")', "panic", "went wrong"),
        ("let v: Vec<u8> = Vec::new(); v[3]", "panic", "index out of bounds"),
        ('Err::<(), String>("refused".to_string())?', "error", "refused"),
        (":no_such_command", "error", "no_such_command"),
    ],
)
def test_errors_name_their_kind_and_point_into_the_cell(kernel, code, ename, said):
    answer = kernel.run(code)
    assert answer.status == "error"
    errors = answer.of("error")
    assert len(errors) == 1, "one message an error"
    for where in (answer.content, errors[0]):
        assert where["ename"] == ename
        assert said in where["evalue"] + "\n".join(where["traceback"])
    if ename.startswith("E0"):
        report = "\n".join(where["traceback"])
        assert code in report and "\x1b[" in report


def test_variables_survive_an_error(kernel):
    kernel.ok("let kept = String::from(\"here\");")
    for code in ("kept.len() + nonsense", 'panic!("x")', 'Err::<(), String>("x".into())?'):
        assert kernel.run(code).status == "error"
    assert kernel.ok("kept.clone()").value == '"here"'


def test_history_knows_this_session_and_earlier_ones(fresh, tmp_path):
    env = {"REBIT_HISTORY": str(tmp_path / "history.jsonl")}
    first = fresh(env=env)
    first.ok("100 + 1")
    first.close()
    second = fresh(env=env)
    second.ok("200 + 2")

    def history(**request):
        return second.ask(lambda: second.client.history(**request)).content["history"]

    tail = history(hist_access_type="tail", n=2, output=True)
    assert [entry[2] for entry in tail] == [["100 + 1", "101"], ["200 + 2", "202"]]
    assert [e[2] for e in history(hist_access_type="search", pattern="1*", output=False)] == ["100 + 1"]
    assert [e[2] for e in history(hist_access_type="range", session=0, start=1, stop=9)] == ["200 + 2"]
    assert [e[2] for e in history(hist_access_type="range", session=-1, start=1, stop=9)] == ["100 + 1"]


def test_comms_are_known_to_be_none(kernel):
    assert kernel.ask(kernel.client.comm_info).content["comms"] == {}
    message = kernel.client.session.msg(
        "comm_open", {"comm_id": "c1", "target_name": "nobody", "data": {}}
    )
    kernel.client.shell_channel.send(message)
    while True:
        said = kernel.client.get_iopub_msg(timeout=30)
        if said["msg_type"] == "comm_close":
            break
    assert said["content"] == {"comm_id": "c1", "data": {}}


def test_completion_has_types_and_counts_code_points(kernel):
    kernel.ok("let räume = 3;")
    answer = kernel.ask(lambda: kernel.client.complete("/* 🦀 */ räu")).content
    assert "räume" in answer["matches"]
    assert (answer["cursor_start"], answer["cursor_end"]) == (8, 11)
    types = answer["metadata"]["_jupyter_types_experimental"]
    assert {t["type"] for t in types if t["text"] == "räume"} == {"instance"}


def test_completion_and_help_answer_while_a_cell_runs(kernel):
    kernel.ok("let sleepy = 3;")
    cell = kernel.client.execute(
        'println!("begun"); std::thread::sleep(std::time::Duration::from_secs(3));'
    )
    kernel.until_text(cell, "begun")
    complete = kernel.client.complete("slee")
    reply = kernel.client.get_shell_msg(timeout=30)
    assert reply["parent_header"]["msg_id"] == complete, "the cell ended first"
    assert "sleepy" in reply["content"]["matches"]
    inspect = kernel.client.inspect("sleepy")
    reply = kernel.client.get_shell_msg(timeout=30)
    assert reply["parent_header"]["msg_id"] == inspect
    assert "i32" in reply["content"]["data"]["text/plain"]
    assert kernel.client.get_shell_msg(timeout=60)["parent_header"]["msg_id"] == cell


def analysers(kernel):
    """Process ids of the kernel's analysers."""
    found = []
    for pid in descendants(kernel.pid):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if b"__analyser" in file.read():
                found.append(pid)
    return found


def test_the_analyser_is_warm_before_anybody_asks(fresh):
    kernel = fresh()
    kernel.ok("1")
    deadline = time.time() + PATIENCE
    # Its memory grows until it has read everything; nobody has asked for anything yet.
    (analyser,) = analysers(kernel)
    before = -1
    while resident_megabytes(analyser) > before and time.time() < deadline:
        before = resident_megabytes(analyser)
        time.sleep(2)
    # Only it knows what the very cell defines, and what is private elsewhere.
    code = "struct P { field: u8 }\nlet p = P { field: 1 };\np.fi"
    while True:
        answer = kernel.ask(lambda: kernel.client.complete(code)).content
        if answer["matches"] == ["field"]:
            break
        assert time.time() < deadline, answer
        time.sleep(0.5)
    own = "/// Doubles.\nfn twice(x: i32) -> i32 { 2 * x }\ntwice(3)"
    help = kernel.ask(lambda: kernel.client.inspect(own, cursor_pos=len(own) - 3)).content
    assert help["found"] and "Doubles" in help["data"]["text/plain"]
    names = kernel.ask(lambda: kernel.client.complete("resnet20(10, rng(0)).")).content["matches"]
    assert any(name.startswith("predict") for name in names), names
    assert not any(name == "inner" or name.startswith("lock(") for name in names), names
    assert "prelude" in kernel.ask(lambda: kernel.client.complete("use dfdx::prel")).content["matches"]
    assert analysers(kernel) == [analyser], "the same one answered"


@pytest.mark.parametrize(
    "name", ["cross_entropy", "linear", "conv2d", "relu", "fake_quant", "matmul"]
)
def test_a_function_goes_before_the_module_of_its_name(kernel, name):
    for asked in (name, name + "("):
        found = kernel.ask(lambda: kernel.client.inspect(asked)).content
        assert "fn " + name in found["data"]["text/plain"], found
    (page,) = kernel.ok(":doc " + name).content["payload"]
    assert "fn " + name in page["data"]["text/plain"]


def test_a_type_is_described_with_its_methods(kernel):
    (page,) = kernel.ok(":doc Net").content["payload"]
    text = page["data"]["text/plain"]
    assert "pub struct Net" in text and "fn predict(" in text and "inner" not in text


def test_help_has_signature_and_documentation(kernel):
    found = kernel.ask(lambda: kernel.client.inspect("randn(3, 4", cursor_pos=3)).content
    assert found["found"]
    assert "fn randn(" in found["data"]["text/plain"]
    assert found["data"]["text/markdown"].startswith("```rust")
    assert not kernel.ask(lambda: kernel.client.inspect("zzz_unknown")).content["found"]


def test_doc_and_help_go_to_the_pager(kernel):
    for code, wanted in ((":help", ":vars"), (":doc randn", "fn randn("), ("?randn", "fn randn(")):
        (page,) = kernel.ok(code).content["payload"]
        assert page["source"] == "page" and wanted in page["data"]["text/plain"]




def test_a_restart_is_fresh(fresh):
    kernel = fresh()
    kernel.ok("let before = 1;")
    kernel.manager.restart_kernel(now=False)
    kernel.client.wait_for_ready(timeout=120)
    assert kernel.run("before").content["ename"] == "E0425"
    assert kernel.ok("2").content["execution_count"] == 2


# Questions of a cell to its reader


def test_a_cell_asks_and_is_answered(kernel):
    cell = kernel.client.execute(
        'let name = show::input("Name: first, then last?")?; let key = show::password("Key")?; '
        'println!("{name}/{key}");'
    )
    assert kernel.asked() == ("Name: first, then last?", False)
    kernel.client.input("Ada L.")
    assert kernel.asked() == ("Key", True)
    kernel.client.input("s:e:c")
    assert kernel.wait(cell).text() == "Ada L./s:e:c\n"
    assert kernel.ok("name.len()").value == "6"


def test_the_standard_input_asks_as_well(kernel):
    cell = kernel.client.execute(
        'print!("number? "); let mut line = String::new(); '
        'for _ in 0..2 { std::io::stdin().read_line(&mut line)?; } println!("{line:?}");'
    )
    for line in ("one", "two"):
        assert kernel.asked() == ("", False)
        kernel.client.input(line)
    assert kernel.wait(cell).text() == 'number? "one\\ntwo\\n"\n'
    # A cell that computes, sleeps or prints for long is not taken for one that asks.
    assert kernel.ok("std::thread::sleep(std::time::Duration::from_millis(300)); 1").value == "1"


def test_an_empty_answer_ends_the_standard_input(kernel):
    cell = kernel.client.execute(
        "let all = std::io::read_to_string(std::io::stdin())?; "
        'let more: Vec<_> = std::io::stdin().lines().map(|line| line.unwrap()).collect(); '
        'println!("{all:?} {more:?}");'
    )
    for line in ("one", "two", "", "three", ""):
        kernel.asked()
        kernel.client.input(line)
    assert kernel.wait(cell).text() == '"one\\ntwo\\n" ["three"]\n'
    # The kernel's own requests still arrive.
    assert kernel.ok("all.len()").value == "8"


@pytest.mark.parametrize("ask", ['show::input("Name")?', "std::io::read_to_string(std::io::stdin())?"])
def test_a_question_that_waits_can_be_interrupted(kernel, ask):
    kernel.ok("let asked_before = 11;")
    cell = kernel.client.execute(f"let text = {ask};")
    kernel.asked()
    before = time.time()
    kernel.interrupt()
    answer = kernel.wait(cell)
    assert answer.content["ename"] == "interrupted"
    assert time.time() - before < 4
    assert kernel.ok("asked_before").value == "11"


@pytest.mark.parametrize("ask", ['show::input("Name")', "std::io::stdin().read_line(&mut String::new())"])
def test_a_front_end_that_takes_no_questions_gets_an_error(kernel, ask):
    kernel.ok("let unasked = 12;")
    answer = kernel.run(f"let _ = {ask}; println!(\"on\");", allow_stdin=False)
    assert (answer.status, answer.content["ename"]) == ("error", "error")
    assert "asked for input" in answer.content["evalue"]
    assert kernel.ok("unasked").value == "12"


def test_control_answers_while_a_cell_runs(kernel):
    cell = kernel.client.execute(
        'println!("begun"); std::thread::sleep(std::time::Duration::from_secs(2));'
    )
    kernel.until_text(cell, "begun")
    client = kernel.client
    client.control_channel.send(client.session.msg("kernel_info_request", {}))
    assert client.get_control_msg(timeout=30)["msg_type"] == "kernel_info_reply"
    assert kernel.client.get_shell_msg(timeout=60)["parent_header"]["msg_id"] == cell


def test_shutdown_ends_a_running_cell_and_leaves_nothing(fresh):
    from kernels import alive, descendants

    kernel = fresh()
    cell = kernel.client.execute('println!("begun"); loop {}')
    kernel.until_text(cell, "begun")
    family = [kernel.pid, *descendants(kernel.pid)]
    kernel.close()
    deadline = time.time() + 10
    while any(map(alive, family)) and time.time() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in family if alive(pid)]


def test_sockets_listen_on_the_given_address_only(kernel):
    info = kernel.manager.get_connection_info()
    ports = {info[f"{name}_port"] for name in ("shell", "iopub", "stdin", "control", "hb")}
    listening = {}
    with open("/proc/net/tcp") as file:
        for line in list(file)[1:]:
            fields = line.split()
            address, port = fields[1].split(":")
            if fields[3] == "0A":
                listening[int(port, 16)] = address
    assert {listening[port] for port in ports} == {"0100007F"}
