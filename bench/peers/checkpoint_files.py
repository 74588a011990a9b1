"""Checkpoints written and read by the libraries that people use. Arguments: CHECKPOINT FOLDER THREADS.

A save ends when the file is synced. A load ends twice: when the library's tensors are there (`ready`), and when every byte
is in memory that the engine had before (`copied`); a mapping is there before its bytes are.
"""
import os
import sys
import time

import torch
from safetensors.torch import load_file, save_file

import page_cache
from conversation import Answers
from weights import Weights


def sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


class Loads:
    """Each gives when its tensors were there; all of them are in `own` when it returns."""

    def __init__(self, own, path, torch_path):
        self.own, self.path, self.torch_path = own, path, torch_path

    def copied(self, tensors):
        ready = time.monotonic()
        self.own.copy_from(tensors)
        return ready

    def safetensors(self):
        return self.copied(load_file(self.path))

    def torch_load(self):
        return self.copied(torch.load(self.torch_path))

    def torch_mmap(self):
        return self.copied(torch.load(self.torch_path, mmap=True))

    def fastsafetensors(self):
        from fastsafetensors import SafeTensorsFileLoader, SingleGroup

        loader = SafeTensorsFileLoader(SingleGroup(), torch.device("cpu"), nogds=True)
        loader.add_filenames({0: [self.path]})
        buffers = loader.copy_files_to_device()
        try:
            return self.copied({name: buffers.get_tensor(name) for name in self.own.tensors})
        finally:
            buffers.close()
            loader.close()

    def runai(self):
        """Tensors are copied as they arrive, which is what a stream is for."""
        from runai_model_streamer import SafetensorsStreamer

        with SafetensorsStreamer() as streamer:
            streamer.stream_file(self.path)
            for name, tensor in streamer.get_tensors():
                self.own.tensors[name].copy_(tensor)
        return time.monotonic()

    def runai_ready(self):
        """No copy: the tensors in the library's own memory."""
        from runai_model_streamer import SafetensorsStreamer

        with SafetensorsStreamer() as streamer:
            streamer.stream_file(self.path)
            kept = dict(streamer.get_tensors())
            ready = time.monotonic()
        del kept
        return ready


def main():
    path, folder, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])

    def start():
        torch.set_num_threads(threads)
        parameters = Weights(path)
        torch_path = os.path.join(folder, "model.pt")
        torch.save(parameters.tensors, torch_path)
        sync(torch_path)
        loads = Loads(Weights(path, empty=True), path, torch_path)

        def save(message):
            name = os.path.join(folder, message["library"])
            if message["new"] and os.path.exists(name):
                os.unlink(name)
                sync(folder)
            begin = time.monotonic()
            if message["library"] == "safetensors":
                save_file(parameters.tensors, name)
            else:
                torch.save(parameters.tensors, name)
            written = time.monotonic()
            sync(name)
            end = time.monotonic()
            page_cache.drop(name)
            return {"seconds": end - begin, "unsynced_seconds": written - begin}

        def load(message):
            file = torch_path if message["library"].startswith("torch") else path
            (page_cache.drop if message["cold"] else page_cache.fill)(file)
            begin = time.monotonic()
            ready = getattr(loads, message["library"])()
            return {"copied": time.monotonic() - begin, "ready": ready - begin}

        def handle(message):
            if message["do"] == "check":
                loads.own.check(path)
                return {"same_bytes": True}
            return {"save": save, "load": load}[message["do"]](message)

        return {"ready": True, "bytes": parameters.bytes, "tensors": len(parameters.tensors)}, handle

    Answers().serve(start)


if __name__ == "__main__":
    main()
