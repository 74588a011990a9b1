"""torch.multiprocessing: shared tensors through a queue. Arguments: CHECKPOINT STRATEGY THREADS.

The sender's tensors are shared once. A round: new weights are copied into them (what a trainer has to do, `snapshot`), the
list goes through the queue, the receiver has views (`views`), and then a copy of its own (`copied`).
"""
import sys
import time

import torch
import torch.multiprocessing as mp

from conversation import Answers
from weights import Weights


def receive(path, strategy, threads, tensors, answers):
    mp.set_sharing_strategy(strategy)
    torch.set_num_threads(threads)
    own = Weights(path, empty=True)
    names = list(own.tensors)
    answers.put("ready")
    while (message := tensors.get()) != "quit":
        if message == "check":
            own.check(path)
            answers.put("same bytes")
            continue
        usable = time.monotonic()
        own.copy_from(dict(zip(names, message)))
        copied = time.monotonic()
        del message
        answers.put((usable, copied))


def main():
    path, strategy, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    answers = Answers()

    def start():
        mp.set_sharing_strategy(strategy)
        torch.set_num_threads(threads)
        context = mp.get_context("spawn")
        there, back = context.SimpleQueue(), context.SimpleQueue()
        receiver = context.Process(target=receive, args=(path, strategy, threads, there, back), daemon=True)
        receiver.start()
        parameters = Weights(path)
        shared = {name: tensor.clone() for name, tensor in parameters.tensors.items()}
        begin = time.monotonic()
        for tensor in shared.values():
            tensor.share_memory_()
        share_seconds = time.monotonic() - begin
        back.get()

        def handle(message):
            if message["do"] == "check":
                there.put("check")
                return {"same_bytes": back.get() == "same bytes"}
            begin = time.monotonic()
            for name, tensor in parameters.tensors.items():
                shared[name].copy_(tensor)
            put = time.monotonic()
            there.put(list(shared.values()))
            usable, copied = back.get()
            return {"snapshot": put - begin, "views": usable - put, "copied": copied - put}

        return {"ready": True, "bytes": parameters.bytes, "tensors": len(shared), "share_seconds": share_seconds}, handle

    answers.serve(start)


if __name__ == "__main__":
    main()
