"""A trainer's torch module published, and a version's tensors as torch's.

    publisher = wsync.torch.publisher(session, "policy", module, dtype=torch.bfloat16)  # on every rank
    publisher.publish(step=17)

    weights = wsync.torch.tensors(receiver.pin())                                       # in the engine
"""

from ._publisher import ModulePublisher, named_tensors, publisher
from ._stream import StreamPublisher
from ._views import dtype_name, tensors, torch_dtype

__all__ = ["ModulePublisher", "StreamPublisher", "dtype_name", "named_tensors", "publisher", "tensors", "torch_dtype"]
