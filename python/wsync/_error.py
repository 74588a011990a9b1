"""What went wrong, as an exception."""

from __future__ import annotations

from typing import Literal

Code = Literal[
    "invalid_argument",
    "not_found",
    "unavailable",
    "unsupported",
    "resource_exhausted",
    "peer_lost",
    "timed_out",
    "cancelled",
    "corrupt",
    "io_error",
    "internal",
]


class Error(Exception):
    """Everything that wsync refuses or that fails. `code` says what the caller can do; the message names the thing."""

    code: Code
    message: str
    context: tuple[str, ...]  # what was being done, innermost first

    def __init__(self, code: Code, message: str, context: tuple[str, ...] = ()) -> None:
        super().__init__(code, message, context)
        self.code = code
        self.message = message
        self.context = context

    def __str__(self) -> str:
        steps = "".join(f", while {step}" for step in self.context)
        return f"{self.code}: {self.message}{steps}"
