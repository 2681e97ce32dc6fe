"""Jupyter's own test suite for kernels, with every optional sample filled."""

import jupyter_kernel_test as suite


class TestRebit(suite.KernelTests):
    kernel_name = "rebit"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # The suite's patience is for a kernel that has started.
        cls.kc.execute_interactive("1", timeout=120)

    language_name = "rust"
    file_extension = ".rs"

    code_hello_world = 'println!("hello, world");'
    code_stderr = 'eprintln!("to the error stream");'
    code_generate_error = 'panic!("on purpose")'
    code_page_something = ":help"
    code_clear_output = "show::clear_output(true);"
    code_inspect_sample = "randn"
    code_execute_result = [
        {"code": "6 * 7", "result": "42"},
        {"code": "vec![1, 2, 3]", "result": "[1, 2, 3]"},
        {"code": '"text".to_string()', "result": '"text"'},
    ]
    code_display_data = [
        {"code": 'show::html("<b>bold</b>");', "mime": "text/html"},
        {"code": 'show::svg("<svg xmlns=\'http://www.w3.org/2000/svg\'/>");', "mime": "image/svg+xml"},
        {"code": 'show::markdown("*a*");', "mime": "text/markdown"},
    ]
    code_history_pattern = "vec!?1, 2, 3?"
    supported_history_operations = ("tail", "range", "search")
    completion_samples = [
        {"text": ":hel", "matches": {":help"}},
        {"text": "printl", "matches": {"println!"}},
        {"text": "check_interr", "matches": {"check_interrupt"}},
        {"text": "show::markd", "matches": {"markdown"}},
    ]
    complete_code_samples = ["1 + 1", "let x = 1;", "fn f() -> u8 { 1 }", ":vars", "for i in 0..2 {}\n2"]
    incomplete_code_samples = ["fn f() {", "let x = vec![", "1 +", "/* open", 'let s = "open', "struct A"]
    invalid_code_samples = [")", "let = 1;", "fn 1() {}", "a b"]


class TestWelcome(suite.IopubWelcomeTests):
    kernel_name = "rebit"
    support_iopub_welcome = True
