"""One structured log record for each sync, publication and failure, by the logger "wsync".

Each record has an attribute `wsync`: a dict with `event` ("sync", "publish", "rollback", "failure") and, where known, `name`, `version`,
`step`, `peer` (who this process is to the other side), `stage` (what was being done), `code`, `seconds`, `metrics`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from ._error import Error
from ._wsync import SyncReport

logger = logging.getLogger("wsync")
logger.addHandler(logging.NullHandler())


def report_sync(report: SyncReport, peer: str) -> None:
    if not logger.isEnabledFor(logging.INFO):
        return
    fields: dict[str, Any] = {
        "event": "sync",
        "name": report.name,
        "version": report.version,
        "step": report.step,
        "peer": peer,
        "stage": "activate",
        "method": report.method,
        "verification": report.verification,
        "seconds": report.seconds,
        "metrics": report.metrics(),
    }
    logger.info("synced %s in %.1f ms by %s, %s", report.version, report.seconds * 1e3, report.method, report.verification, extra={"wsync": fields})


def report_event(event: str, message: str, **fields: Any) -> None:
    if logger.isEnabledFor(logging.INFO):
        logger.info("%s", message, extra={"wsync": {"event": event, **fields}})


@contextlib.contextmanager
def failures(stage: str, **fields: Any) -> Iterator[None]:
    """Logs an Error that passes, once, and lets it pass. A deadline that nothing came before is no failure of a wait."""
    try:
        yield
    except Error as error:
        if not getattr(error, "logged", False):
            error.logged = True  # type: ignore[attr-defined]
            level = logging.INFO if error.code in ("timed_out", "cancelled") else logging.ERROR
            record = {"event": "failure", "stage": stage, "code": error.code, "message": error.message, **fields}
            logger.log(level, "%s failed: %s", stage, error, extra={"wsync": record})
        raise
