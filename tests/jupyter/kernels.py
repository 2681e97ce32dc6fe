"""A kernel and one client of it, with the messages of each request kept apart."""

import os
import queue
import time

from jupyter_client.manager import KernelManager
from jupyter_kernel_test.msgspec_v5 import validate_message

# Generous: the machine that runs the tests may be busy with something else.
PATIENCE = 120


class Answer:
    """The reply to one request and everything published for it until it was idle."""

    def __init__(self, reply, messages):
        self.reply = reply
        self.content = reply["content"] if reply else None
        self.messages = messages

    def of(self, *kinds):
        return [m["content"] for m in self.messages if m["msg_type"] in kinds]

    def text(self, name="stdout"):
        return "".join(c["text"] for c in self.of("stream") if c["name"] == name)

    @property
    def status(self):
        return self.content["status"]

    @property
    def value(self):
        """The plain text of the cell's value."""
        results = self.of("execute_result")
        assert len(results) <= 1, results
        return results[0]["data"]["text/plain"] if results else None


class Kernel:
    def __init__(self, env=None, name="rebit", **settings):
        self.manager = KernelManager(kernel_name=name, **settings)
        self.closed = False
        self.manager.start_kernel(env={**os.environ, **(env or {})})
        self.client = self.manager.client()
        self.client.start_channels()
        self.welcome = self.client.get_iopub_msg(timeout=PATIENCE)

    @property
    def pid(self):
        return self.manager.provisioner.process.pid

    def ask(self, send, timeout=PATIENCE, validate=True):
        """Sends one shell request and waits for its reply and its idle status."""
        return self.wait(send(), timeout, validate)

    def wait(self, request, timeout=PATIENCE, validate=True):
        deadline = time.time() + timeout
        messages = []
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.time()))
            if message["parent_header"].get("msg_id") != request:
                continue
            message["received"] = time.time()
            messages.append(message)
            if validate and message["msg_type"] != "update_display_data":
                validate_message(message)
            if message["content"].get("execution_state") == "idle":
                break
        while True:
            # Replies to requests that nobody waited for come first.
            reply = self.client.get_shell_msg(timeout=max(0.1, deadline - time.time()))
            if reply["parent_header"]["msg_id"] == request:
                break
        if validate and reply["content"]["status"] != "aborted":
            validate_message(reply)
        return Answer(reply, messages)

    def run(self, code, timeout=PATIENCE, **options):
        return self.ask(lambda: self.client.execute(code, **options), timeout)

    def ok(self, code, **options):
        answer = self.run(code, **options)
        assert answer.status == "ok", "\n".join(answer.content.get("traceback", [])) or answer.content
        return answer

    def until_text(self, request, wanted, timeout=PATIENCE):
        """Waits until `wanted` was printed by the request; returns what came so far."""
        deadline = time.time() + timeout
        text = ""
        while wanted not in text:
            message = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.time()))
            if message["parent_header"].get("msg_id") == request and message["msg_type"] == "stream":
                text += message["content"]["text"]
        return text

    def silent_for(self, seconds):
        try:
            return self.client.get_iopub_msg(timeout=seconds)
        except queue.Empty:
            return None

    def asked(self, timeout=PATIENCE):
        """The next question of a cell: its prompt, and whether the answer is hidden."""
        message = self.client.get_stdin_msg(timeout=timeout)
        return message["content"]["prompt"], message["content"]["password"]

    def interrupt(self):
        self.manager.interrupt_kernel()

    def interrupt_and_wait(self):
        """An interrupt that the kernel has answered: what is sent next comes after it, though on another channel."""
        request = self.client.session.msg("interrupt_request", {})
        self.client.control_channel.send(request)
        reply = self.client.get_control_msg(timeout=PATIENCE)
        assert reply["parent_header"]["msg_id"] == request["header"]["msg_id"]
        assert (reply["msg_type"], reply["content"]["status"]) == ("interrupt_reply", "ok")

    def close(self):
        if not self.closed:
            self.closed = True
            self.client.stop_channels()
            self.manager.shutdown_kernel(now=False)


def descendants(pid):
    """Process ids below `pid`."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def resident_megabytes(pid):
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0
