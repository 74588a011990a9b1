"""A checkpoint as the peers' processes hold it: one flat, touched piece of memory with a tensor for each of its parts."""
import torch
from safetensors.torch import load_file


class Weights:
    """The tensors of a safetensors file, in its order, as views of `flat`."""

    def __init__(self, path, empty=False):
        stored = load_file(path)
        self.bytes = sum(tensor.nbytes for tensor in stored.values())
        self.flat = torch.zeros(self.bytes, dtype=torch.uint8)
        self.tensors = {}
        at = 0
        for name, tensor in stored.items():
            self.tensors[name] = self.flat[at:at + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
            at += tensor.nbytes
            if not empty:
                self.tensors[name].copy_(tensor)

    def copy_from(self, tensors):
        for name, tensor in tensors.items():
            self.tensors[name].copy_(tensor)

    def check(self, path):
        """Refuses where a byte differs from the file's, then forgets: what comes next has to be brought anew."""
        for name, tensor in load_file(path).items():
            if not torch.equal(tensor.view(torch.uint8), self.tensors[name].view(torch.uint8)):
                raise RuntimeError(f"{name} arrived with other bytes than {path} has")
        self.flat.zero_()
