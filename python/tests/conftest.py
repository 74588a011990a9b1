"""The fixtures of all tests."""

from __future__ import annotations

from control_folder import folder, session

__all__ = ["folder", "session"]
