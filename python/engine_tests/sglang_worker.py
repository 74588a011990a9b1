"""One tensor parallel rank of SGLang's for weight updates, in a process of its own: its scheduler's manager of sessions, its WeightUpdater, its
unpickler and its configuration, as released. Its kernels and what runs a model need CUDA; modules that they import are empty here.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import safetensors.torch
import torch
from sglang_server import Model

from wsync.sglang._controller import LOADER

# What SGLang imports and a CPU has no build of, or is not called here.
ABSENT = ("sgl_kernel", "flashinfer", "torchvision", "torchaudio", "torchcodec", "triton", "gguf", "IPython")


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds those, as modules that have every name."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.partition(".")[0] in ABSENT else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class Anything(type):
    """A class that is called, decorates and has attributes, and is itself each time."""

    def __call__(cls, *_: Any, **__: Any) -> Any:
        return cls

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls


class Nothing(metaclass=Anything):
    pass


class Empty(ModuleType):
    __version__ = "0"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing


def serve(rank: int, world: int, meeting: str, shapes: dict[str, tuple[int, ...]], orders: Any) -> None:
    """Answers (success, message) to each (method, fields) of the manager's, ("stumble", name), and with the tensors, as safetensors, to ("tensors", None)."""
    os.environ["SGLANG_USE_CPU_ENGINE"] = "1"
    import transformers

    _ = transformers.AutoConfig, transformers.AutoProcessor, transformers.AutoTokenizer  # found before their packages seem to be there
    sys.meta_path.append(Absent())
    from sglang.srt.managers import io_struct
    from sglang.srt.managers.scheduler_components.weight_updater import SchedulerWeightUpdaterManager
    from sglang.srt.model_executor.model_runner_components.weight_updater import WeightUpdater
    from sglang.srt.runtime_context import get_context, get_model, get_parallel
    from sglang.srt.utils import MultiprocessingSerializer

    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    get_context().override_server_args(custom_weight_loader=[LOADER], tp_size=world).install()
    get_parallel().override_permanently(tp_rank=rank, tp_group=SimpleNamespace(cpu_group=torch.distributed.group.WORLD))
    model = Model(shapes)
    updater = WeightUpdater(
        tp_rank=rank, device="cpu", gpu_id=0, model_config=None, custom_weight_loaders=get_model().custom_weight_loader, get_model=lambda: model,
        update_model_fields=lambda *_, **__: None, recapture_cuda_graph=lambda: None, get_model_runner=lambda: None,
    )  # fmt: skip
    worker = SimpleNamespace(
        weight_update_runners=lambda: [("target", SimpleNamespace(weight_updater=updater))],
        deserialize_own_rank=lambda payloads: MultiprocessingSerializer.deserialize(payloads[get_parallel().tp_rank]),
    )
    manager = SchedulerWeightUpdaterManager(
        tp_worker=worker, draft_worker=None, memory_saver_adapter=None, flush_cache=lambda **_: True, is_fully_idle=lambda **_: True,
        scheduler=SimpleNamespace(record_weight_version_change=lambda **_: None),
    )  # fmt: skip
    requests = {
        "begin_weight_update": io_struct.BeginWeightUpdateReqInput,
        "update_weights_from_tensor": io_struct.UpdateWeightsFromTensorReqInput,
        "end_weight_update": io_struct.EndWeightUpdateReqInput,
    }
    orders.send("ready")
    while order := orders.recv():
        method, fields = order
        if method == "stumble":
            model.stumble_at = fields
        elif method == "tensors":
            orders.send(safetensors.torch.save({name: tensor.detach() for name, tensor in model.tensors.items()}))
        else:
            answer = getattr(manager, method)(requests[method](**fields))
            orders.send((answer.success, answer.message))
    torch.distributed.destroy_process_group()
    os._exit(0)  # an interpreter with modules that have every name does not come to its end
