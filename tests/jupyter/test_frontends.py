"""Notebooks through nbclient, and cells through the terminal."""

import os
import shlex
import subprocess
import time
import uuid

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def notebook(*cells):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
    book.metadata["kernelspec"] = {"name": "rebit", "display_name": "Rust (rebit)"}
    return book


def test_a_notebook_runs_and_keeps_its_outputs():
    book = notebook(
        "let a = randn(3, 4, &mut rng(0));",
        "a.shape()",
        'println!("text"); show::html("<b>figure</b>");',
        "for _ in progress(0..5) {}",
    )
    NotebookClient(book, timeout=120).execute()
    nbformat.validate(book)
    cells = book.cells
    assert [cell.execution_count for cell in cells] == [1, 2, 3, 4]
    assert cells[1].outputs[0].data["text/plain"] == "(3, 4)"
    assert [output.output_type for output in cells[2].outputs] == ["stream", "display_data"]
    assert "5/5" in cells[3].outputs[-1].data["text/plain"]
    assert book.metadata.language_info.name == "rust"


def test_a_failing_cell_stops_the_notebook_and_says_why():
    book = notebook("1", 'panic!("stop here")', "2")
    with pytest.raises(CellExecutionError) as failure:
        NotebookClient(book, timeout=120).execute()
    assert failure.value.ename == "panic" and "stop here" in str(failure.value)
    assert book.cells[2].execution_count is None


REBIT = os.environ.get("REBIT", "rebit")


def piped(text):
    return subprocess.run([REBIT, "repl"], input=text, capture_output=True, text=True, timeout=300)


def test_cells_from_a_pipe():
    done = piped(
        "let v = (0..3)\n    .map(|i| i * 2)\n    .collect::<Vec<i32>>();\nv\n"
        "if v.len() > 5 {\n    1\n}\nelse {\n    2\n}\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[0, 2, 4]\n2\n"


def test_a_failing_cell_in_a_pipe_is_reported_and_the_rest_still_runs():
    done = piped('let n: u8 = "x";\nprintln!("after");\n')
    assert done.returncode == 1
    assert "E0308" in done.stderr and done.stdout == "after\n"


class Terminal:
    """The REPL in a terminal of tmux's."""

    def __init__(self):
        self.socket = f"rebit-{uuid.uuid4().hex[:8]}"
        self.tmux("new-session", "-d", "-x", "100", "-y", "40", shlex.join([REBIT, "repl"]))

    def tmux(self, *arguments):
        return subprocess.run(
            ["tmux", "-L", self.socket, *arguments], capture_output=True, text=True, timeout=30
        ).stdout

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def line(self, text):
        # A last `;` would be tmux's own.
        text = text[:-1] + "\\;" if text.endswith(";") else text
        self.tmux("send-keys", "-l", text)
        self.keys("Enter")

    def screen(self):
        return self.tmux("capture-pane", "-p")

    def until(self, wanted, timeout=120):
        deadline = time.time() + timeout
        while time.time() < deadline:
            if wanted in self.screen():
                return self.screen()
            time.sleep(0.1)
        raise AssertionError(f"{wanted!r} did not appear:\n{self.screen()}")

    def wait_for_end(self, timeout=20):
        """Until no program runs in the terminal, or no longer."""
        deadline = time.time() + timeout
        while self.tmux("list-sessions") and time.time() < deadline:
            time.sleep(0.1)

    def close(self):
        self.tmux("kill-server")


@pytest.fixture
def terminal(monkeypatch, tmp_path):
    monkeypatch.setenv("REBIT_HISTORY", str(tmp_path / "history.jsonl"))
    terminal = Terminal()
    terminal.until("[1] >")
    yield terminal
    terminal.close()


def test_the_terminal_edits_completes_interrupts_and_leaves(terminal):
    terminal.line("let kept = 20 + 1;")
    terminal.until("[2] >")
    # Enter inside an open bracket continues the cell.
    terminal.line("fn twice(n: i32) -> i32 {")
    terminal.line("n * 2 }")
    terminal.until("[3] >")
    terminal.tmux("send-keys", "-l", "twice(kep")
    terminal.keys("Tab")
    terminal.until("twice(kept")
    terminal.line(")")
    terminal.until("42")
    terminal.line("for _ in progress(0..100_000) { std::thread::sleep(std::time::Duration::from_millis(10)); }")
    terminal.until("100000")
    time.sleep(1)
    terminal.keys("C-c")
    terminal.until("interrupted")
    terminal.until("[5] >")
    terminal.line("kept")
    terminal.until("\n21")
    terminal.line(":vars")
    terminal.until("kept: i32")
    # Ctrl-D ends what a cell reads.
    terminal.line("let all = std::io::read_to_string(std::io::stdin())?;")
    time.sleep(3)
    terminal.line("typed")
    terminal.keys("C-d")
    terminal.line("all.trim().to_uppercase()")
    terminal.until("TYPED")
    terminal.line(":doc randn")
    terminal.until("fn randn(")
    terminal.keys("C-d")
    terminal.wait_for_end()
    assert terminal.tmux("list-sessions") == "", "the last program of the server has ended"


def test_the_terminal_remembers_what_was_typed(terminal):
    terminal.line("let remembered = 6 * 111;")
    terminal.until("[2] >")
    terminal.keys("C-d")
    terminal.wait_for_end()
    later = Terminal()
    try:
        later.until("[1] >")
        later.keys("C-r")
        later.tmux("send-keys", "-l", "remem")
        later.until("(search: remem) let remembered = 6 * 111;")
        # The first takes the line over, the second runs it.
        later.keys("Enter")
        later.until("> let remembered = 6 * 111;")
        later.keys("Enter")
        later.until("[2] >")
        later.line("remembered")
        later.until("\n666")
    finally:
        later.close()


def test_figures_are_drawn_with_block_characters(terminal):
    terminal.line(
        "show::svg(\"<svg xmlns='http://www.w3.org/2000/svg' width='40' height='20'>"
        "<rect width='40' height='20' fill='red'/></svg>\");"
    )
    screen = terminal.until("▀▀▀▀")
    assert screen.count("▀" * 40) == 10


def test_the_tour_runs_in_jupyter_and_shows_its_figures():
    tour = os.path.join(os.path.dirname(__file__), "../../tutorials/01-tour.ipynb")
    book = nbformat.read(tour, as_version=4)
    NotebookClient(book, timeout=120, kernel_name="rebit").execute()
    nbformat.validate(book)
    forms = [form for cell in book.cells for output in cell.get("outputs", []) for form in output.get("data", {})]
    assert forms.count("image/svg+xml") == 2
    assert not [o for cell in book.cells for o in cell.get("outputs", []) if o.output_type == "error"]
