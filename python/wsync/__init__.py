"""rsync for model weights: from an RL trainer to its inference engines, verified.

    session = wsync.Session.open(control="dir:/run/policy")
    publisher = session.publisher("policy", source=parameters)
    publisher.publish_from(parameters, step=17)             # the trainer
    report = session.receiver("policy").sync()              # the engine

docs/python.md has the whole of it.
"""

from ._error import Code, Error
from ._session import Publisher, Receiver, Session, StagedVersion, Write, activate_all, manifest_of
from ._tensors import Tensors
from ._wsync import Comparison, Layout, Manifest, Plan, SyncReport, TensorView, Version, bits_of, compare, make_plan, normal_dtype

__all__ = [
    "Code",
    "Comparison",
    "Error",
    "Layout",
    "Manifest",
    "Plan",
    "Publisher",
    "Receiver",
    "Session",
    "StagedVersion",
    "SyncReport",
    "TensorView",
    "Tensors",
    "Version",
    "Write",
    "activate_all",
    "bits_of",
    "compare",
    "make_plan",
    "manifest_of",
    "normal_dtype",
]
