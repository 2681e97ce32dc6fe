"""A kernel process and its client: runs a cell, and says what it cost in seconds and memory."""

import json
import os
import queue
import shutil
import subprocess
import tempfile
import time

from jupyter_client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

TICK = os.sysconf("SC_CLK_TCK")
PATIENCE = 600


def family(pid):
    """The process and everything below it."""
    children = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        if fields := stat(int(entry)):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def stat(pid):
    """The fields of /proc/PID/stat behind the name; the state is the first."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()
    except OSError:
        return None


def stock_environment(folder):
    """For the stock kernel: a cache of its own, and a rustup that changes no toolchain.

    Its start asks rustup to add the standard library's sources.
    """
    shims = os.path.join(folder, "bin")
    os.makedirs(shims)
    rustup = shutil.which("rustup")
    with open(os.path.join(shims, "rustup"), "w") as file:
        file.write('#!/bin/sh\n[ "$1" = component ] && exit 1\n')
        file.write(f'exec {rustup} "$@"\n' if rustup else "exit 127\n")
    os.chmod(file.name, 0o755)
    return {
        "PATH": shims + os.pathsep + os.environ["PATH"],
        "XDG_CACHE_HOME": os.path.join(folder, "cache"),
    }


class Kernel:
    """One kernel, from the start of its process."""

    def __init__(self, argv, env=None):
        self.folder = tempfile.mkdtemp(prefix="latency-")
        path, _ = write_connection_file(os.path.join(self.folder, "connection.json"))
        self.log = open(os.path.join(self.folder, "log"), "w")
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [part.replace("{connection_file}", path) for part in argv],
            env={**os.environ, **(env or {})},
            stdout=self.log,
            stderr=self.log,
            cwd=self.folder,
        )
        self.client = BlockingKernelClient(connection_file=path)
        self.client.load_connection_file()
        self.client.start_channels()

    def cpu(self):
        """CPU seconds of the kernel, its children and everything they waited for."""
        fields = [f for pid in family(self.process.pid) if (f := stat(pid))]
        return sum(int(tick) for f in fields for tick in f[11:15]) / TICK

    def memory(self):
        """Resident megabytes of the kernel and its children (shared pages count in each)."""
        total = 0
        for pid in family(self.process.pid):
            try:
                with open(f"/proc/{pid}/status") as file:
                    total += sum(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
            except OSError:
                pass
        return total / 1024

    def run(self, code, expect=None, since=None):
        """Runs a cell to its reply and its idle status; returns wall and CPU seconds.

        `since` counts from an earlier moment and from no CPU time at all (the start of the process).
        """
        before = 0.0 if since is not None else self.cpu()
        begun = time.perf_counter() if since is None else since
        request = self.client.execute(code)
        # Outputs first: a kernel whose outputs nobody takes may wait with its reply.
        text = self.output(request)
        reply = self.reply(request)
        wall = time.perf_counter() - begun
        if reply["status"] != "ok" or (expect is not None and expect not in text):
            raise SystemExit(f"{code}\n{json.dumps(reply, indent=1)}\n{text}")
        return wall, self.cpu() - before

    def next_message(self, get, deadline):
        """The next message of a channel; ends everything when the kernel is gone or silent for too long."""
        while time.monotonic() < deadline:
            try:
                return get(timeout=1)
            except queue.Empty:
                if self.process.poll() is not None:
                    raise SystemExit(f"the kernel ended: {open(self.log.name).read()}") from None
        raise SystemExit(f"the kernel says nothing; its log: {open(self.log.name).read()}")

    def reply(self, request):
        deadline = time.monotonic() + PATIENCE
        while True:
            message = self.next_message(self.client.get_shell_msg, deadline)
            if message["parent_header"]["msg_id"] == request:
                return message["content"]

    def said(self, request):
        """Everything published for the cell, up to its idle status."""
        deadline = time.monotonic() + PATIENCE
        while True:
            message = self.next_message(self.client.get_iopub_msg, deadline)
            if message["parent_header"].get("msg_id") != request:
                continue
            if message["content"].get("execution_state") == "idle":
                return
            yield message["content"]

    def output(self, request):
        """What the cell printed and showed, as text."""
        text = []
        for content in self.said(request):
            shown = content.get("text") or content.get("data", {}).get("text/plain", "")
            text.append(shown or "\n".join(content.get("traceback", [])))
        return "".join(text)

    def close(self):
        below = family(self.process.pid)[1:]
        self.client.stop_channels()
        self.process.kill()
        self.process.wait()
        for pid in below:
            try:
                os.kill(pid, 9)
            except OSError:
                pass
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
