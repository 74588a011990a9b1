"""What is compared with what, and the bars. Standard library alone."""
from comparison import Bar, Row

NO_VERSIONS = ("digests", "versions", "atomic activation")
NOT_DURABLE = ("digests", "sync of the folder", "commit of a whole version")
UNVERIFIED = ("digests: a flipped bit is loaded",)

SHARED = [
    Row("mp_views", "torch.multiprocessing, views", "torch_queue.views", "shm_map", leaves_out=NO_VERSIONS + ("read-only maps",),
        note="both end with usable tensors on the sender's pages"),
    Row("mp_copied", "torch.multiprocessing, copied", "torch_queue.copied", "shm_copy", limit="M2", leaves_out=NO_VERSIONS),
]
MANY = [
    Row("mp_views_many", "torch.multiprocessing, views", "torch_queue.views", "shm_map", leaves_out=NO_VERSIONS + ("read-only maps",),
        note="sharing strategy file_system: the default needs a descriptor for each tensor"),
    Row("mp_copied_many", "torch.multiprocessing, copied", "torch_queue.copied", "shm_copy", limit="M2", leaves_out=NO_VERSIONS),
]
NETWORK_LEFT_OUT = ("digests", "versions", "resume", "late or dead receivers")
NETWORK = [
    Row(f"gloo_{shape}_{group}", f"gloo broadcast, {words}, {control}", f"gloo.{shape}.{group}", "tcp", limit="T", leaves_out=NETWORK_LEFT_OUT, note=note)
    for group, control in (("default", "as it comes"), ("reno", "same congestion control"))
    for shape, words, note in (("tensors", "per tensor", ""), ("buckets", "64 MiB buckets", "the weights lie in one flat buffer on both sides"),
                               ("flat", "one flat buffer", "the weights lie in one flat buffer on both sides"))
]
WRITE = [
    Row("safetensors_over", "safetensors save_file + fsync, again", "safetensors.over", "write_recycled", limit="W2", leaves_out=NOT_DURABLE),
    Row("torch_over", "torch.save + fsync, again", "torch.over", "write_recycled", limit="W2", leaves_out=NOT_DURABLE + ("the old file, from the first byte on",)),
    Row("safetensors_new", "safetensors save_file + fsync, new file", "safetensors.new", "write_new", limit="W", leaves_out=NOT_DURABLE),
    Row("torch_new", "torch.save + fsync, new file", "torch.new", "write_new", limit="W", leaves_out=NOT_DURABLE),
]
LOADERS = (("safetensors", "safetensors load_file"), ("torch_load", "torch.load"), ("torch_mmap", "torch.load(mmap=True)"),
           ("fastsafetensors", "fastsafetensors"), ("runai", "runai-model-streamer"))
LIMITS = {"cold": "R", "warm": "P"}


def read(state):
    whole = [Row(f"{id}_{state}", f"{name}, {state}", f"{id}.{state}.copied", f"read_{state}", limit=LIMITS[state], leaves_out=UNVERIFIED)
             for id, name in LOADERS]
    ready = [Row(f"{id}_{state}_ready", f"{name}, {state}, tensors ready", f"{id}.{state}.ready", f"read_{state}", limit=LIMITS[state], same_work=False,
                 leaves_out=UNVERIFIED, note="in memory that the library has just made; not in the engine's")
             for id, name in LOADERS[1:2] + LOADERS[3:]]
    return whole + ready


BARS = [
    Bar("shm_copy", "shm copy, against torch.multiprocessing", 2.0, ("mp_copied", "mp_copied_many")),
    Bar("tcp_same", "tcp, against gloo under the same congestion control", 1.1, ("gloo_tensors_reno", "gloo_buckets_reno", "gloo_flat_reno")),
    Bar("tcp_default", "tcp, against gloo as it comes", 1.2, ("gloo_tensors_default", "gloo_buckets_default", "gloo_flat_default")),
    Bar("write_recycled", "disk write, durable, recycled, against safetensors + fsync", 1.5, ("safetensors_over",)),
    Bar("write_new", "disk write, durable, fresh, against safetensors + fsync", 1.15, ("safetensors_new",)),
    Bar("read_cold", "cold read with digests, against the best loader", 1.3, tuple(f"{id}_cold" for id, _ in LOADERS)),
]
