"""Processes that are asked one thing at a time: a JSON object a line each way, over their standard input and output.

The peers' rows need processes of their own that live through all rounds, as wsync's fleet does. A process that is asked
runs in a session of its own, so that Ctrl-C reaches the asker alone, which then ends it and everything it started.
"""
import json
import os
import select
import signal
import subprocess
import sys
import time


class Refused(RuntimeError):
    """The other side answered {"error": ...}, or ended."""


class Partner:
    """The asking end. `with Partner(...)` ends the process on the way out, whatever happened."""

    def __init__(self, name, command, environment=None, patience=300):
        self.name = name
        self.patience = patience
        self.rest = b""
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
                                        env=os.environ | (environment or {}))
        try:
            self.greeting = self.receive()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ask(self, do, **more):
        self.tell(do, **more)
        return self.receive()

    def tell(self, do, **more):
        """The half of ask() before the answer, so that several partners can work at once."""
        try:
            self.process.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Refused(f"{self.name} ended before it could be asked to {do}") from None

    def receive(self):
        answer = json.loads(self.read_line())
        if "error" in answer:
            error = answer["error"]
            raise Refused(f"{self.name}: {error['message'] if isinstance(error, dict) else error}")
        return answer

    def read_line(self):
        deadline = time.monotonic() + self.patience
        while b"\n" not in self.rest:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise Refused(f"{self.name} gave no answer in {self.patience} s")
            piece = os.read(self.process.stdout.fileno(), 65536)
            if not piece:
                raise Refused(f"{self.name} ended without an answer (its messages are above)")
            self.rest += piece
        line, self.rest = self.rest.split(b"\n", 1)
        return line

    def close(self):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        for number in (signal.SIGTERM, signal.SIGKILL):  # also what it started
            if self.group_ended(number, patience=2):
                break
        self.process.wait()
        self.process.stdout.close()

    def group_ended(self, number, patience):
        """Signals all of its session's processes; whether they were gone in time."""
        deadline = time.monotonic() + patience
        try:
            os.killpg(self.process.pid, number)
            while time.monotonic() < deadline:
                self.process.poll()
                os.killpg(self.process.pid, 0)
                time.sleep(0.01)
        except ProcessLookupError:
            return True
        return False


class Answers:
    """The answering end's way out. Made before anything else prints: libraries' chatter goes to standard error."""

    def __init__(self):
        self.out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def send(self, answer):
        self.out.write(json.dumps(answer) + "\n")
        self.out.flush()

    def serve(self, start):
        """`start()` gives the greeting and a function from message to answer. Returns when the asker is gone."""
        try:
            greeting, handle = start()
            self.send(greeting)
            for line in sys.stdin:
                self.send(handle(json.loads(line)))
        except Exception as error:  # the asker is told, and decides
            self.send({"error": {"message": f"{type(error).__name__}: {error}"}})
            raise
