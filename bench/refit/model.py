"""The weights that bench/refit moves: a checkpoint's names and shapes, a module of them, and the bytes that they have after each step."""

import torch

SHAPES = {
    "qwen2.5-0.5b": {"hidden": 896, "intermediate": 4864, "layers": 24, "heads": 14, "key_value_heads": 2, "head_dim": 64, "vocabulary": 151936},
    "tiny": {"hidden": 64, "intermediate": 96, "layers": 2, "heads": 4, "key_value_heads": 2, "head_dim": 16, "vocabulary": 1000},
}
SPREAD = 1 << 16


def specs_of(model):
    """[(name, shape)]; the embedding is the head too, as Qwen2.5's small models have it."""
    of = SHAPES[model]
    hidden, query, pair = of["hidden"], of["heads"] * of["head_dim"], of["key_value_heads"] * of["head_dim"]
    specs = [("model.embed_tokens.weight", (of["vocabulary"], hidden))]
    for i in range(of["layers"]):
        specs += [(f"model.layers.{i}.{name}", shape) for name, shape in (
            ("input_layernorm.weight", (hidden,)), ("mlp.down_proj.weight", (hidden, of["intermediate"])),
            ("mlp.gate_proj.weight", (of["intermediate"], hidden)), ("mlp.up_proj.weight", (of["intermediate"], hidden)),
            ("post_attention_layernorm.weight", (hidden,)), ("self_attn.k_proj.bias", (pair,)), ("self_attn.k_proj.weight", (pair, hidden)),
            ("self_attn.o_proj.weight", (hidden, query)), ("self_attn.q_proj.bias", (query,)), ("self_attn.q_proj.weight", (query, hidden)),
            ("self_attn.v_proj.bias", (pair,)), ("self_attn.v_proj.weight", (pair, hidden)))]
    return [*specs, ("model.norm.weight", (hidden,))]


def bytes_of(specs):
    return sum(2 * torch.Size(shape).numel() for _, shape in specs)


def module_of(specs):
    """BF16 parameters under their names, without memory yet."""
    root = torch.nn.Module()
    for name, shape in specs:
        *path, last = name.split(".")
        at = root
        for word in path:
            if word not in dict(at.named_children()):
                at.add_module(word, torch.nn.Module())
            at = at.get_submodule(word)
        at.register_parameter(last, torch.nn.Parameter(torch.empty(shape, dtype=torch.bfloat16, device="meta")))
    return root


class Drawn:
    """What each tensor is after each step. Every process draws the same, so that a receiver can check all bytes without asking."""

    def __init__(self, specs):
        self.specs = specs
        size = max(torch.Size(shape).numel() for _, shape in specs) + SPREAD
        self.numbers = torch.randint(-(1 << 15), 1 << 15, (size,), dtype=torch.int16, generator=torch.Generator().manual_seed(17))

    def whole(self, i, step):
        """As 16-bit integers; another stretch of the numbers for each tensor and step."""
        shape = self.specs[i][1]
        begin = (i * 7919 + step * 104729) % SPREAD
        return self.numbers[begin : begin + torch.Size(shape).numel()].view(shape)

    def check(self, tensors, step):
        """ValueError names the first tensor with another byte than the step's."""
        if tensors.keys() != {name for name, _ in self.specs}:
            raise ValueError("these are not the model's tensors")
        for i, (name, _) in enumerate(self.specs):
            if not torch.equal(tensors[name].view(torch.int16), self.whole(i, step)):
                raise ValueError(f"{name} is not as step {step} left it")


class Draw(torch.optim.Optimizer):
    """An optimizer whose every step gives a rank's shards the next bytes."""

    def __init__(self, parameters, drawn, rank, ranks):
        super().__init__(parameters, {})
        self.drawn, self.rank, self.ranks, self.number = drawn, rank, ranks, 0

    @torch.no_grad()
    def step(self, closure=None):
        self.number += 1
        for i, parameter in enumerate(self.param_groups[0]["params"]):
            parameter.to_local().view(torch.int16).copy_(self.drawn.whole(i, self.number).chunk(self.ranks)[self.rank])
