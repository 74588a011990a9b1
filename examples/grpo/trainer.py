"""The trainer: GRPO on FP32 masters, forward and backward in BF16."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Rollout:
    """One sample, and how much better it was than its group."""

    prompt: list[int]
    tokens: list[int]
    logprobs: list[float]  # of the engine that drew it
    advantage: float


@dataclass(frozen=True)
class Update:
    loss: float
    gradient_norm: float
    clipped: float  # share of tokens
    difference: float  # mean of |trainer's log-probability - engine's|, before the first update


def advantages(rewards: Sequence[float]) -> list[float]:
    """GRPO's: of one group, centred and scaled. A group whose samples are equally good teaches nothing."""
    values = torch.tensor(rewards, dtype=torch.float64)
    spread = float(values.std(unbiased=False))
    return [0.0] * len(rewards) if spread < 1e-6 else ((values - values.mean()) / (spread + 1e-4)).tolist()


class Trainer:
    """Owns the optimizer. `model` has FP32 parameters: the masters that are published, rounded to BF16 on the way."""

    def __init__(self, model: Any, *, learning_rate: float, clip: float = 0.2, passes: int = 1, batch: int = 8) -> None:
        """`batch`: groups in one forward pass."""
        self.model = model
        self.clip = clip
        self.passes = passes
        self.batch = batch
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)

    def learn(self, groups: Sequence[Sequence[Rollout]]) -> Update:
        """`passes` updates with these samples: the first on policy, the others with the clipped ratio to the policy that drew them."""
        batches = [groups[i : i + self.batch] for i in range(0, len(groups), self.batch)]
        total = sum(len(one.tokens) for group in groups for one in group)
        old: list[torch.Tensor] = []
        losses: list[float] = []
        norm = clipped = difference = 0.0
        for number in range(self.passes):
            self.optimizer.zero_grad(set_to_none=True)
            loss_sum = clipped = 0.0
            for i, batch in enumerate(batches):
                new = self._logprobs(batch)
                every = [one for group in batch for one in group]
                if number == 0:
                    old.append(new.detach())
                    difference += float((new.detach() - torch.tensor([value for one in every for value in one.logprobs])).abs().sum()) / total
                ratio = torch.exp(new - old[i])
                gain = torch.tensor([one.advantage for one in every for _ in one.tokens])
                loss = -torch.minimum(ratio * gain, ratio.clamp(1 - self.clip, 1 + self.clip) * gain).sum() / total
                loss.backward()
                loss_sum += float(loss.detach())
                clipped += float(((ratio - 1).abs() > self.clip).sum()) / total
            norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0))
            self.optimizer.step()
            losses.append(loss_sum)
        return Update(losses[-1], norm, clipped, difference)

    def _logprobs(self, batch: Sequence[Sequence[Rollout]]) -> torch.Tensor:
        """Of each reply's tokens, one after the other, in FP32. A group is one row: its prompt once, then its replies, which do not see each other."""
        width = max(len(group[0].prompt) + sum(len(one.tokens) for one in group) for group in batch)
        ids, positions, parts = (torch.zeros(len(batch), width, dtype=torch.long) for _ in range(3))
        rows, before, chosen = [], [], []  # for each token of a reply: its row, the place that predicts it, itself
        for row, group in enumerate(batch):
            end = start = len(group[0].prompt)
            ids[row, :start], positions[row, :start] = torch.tensor(group[0].prompt), torch.arange(start)
            for part, one in enumerate(group, 1):
                count = len(one.tokens)
                ids[row, end : end + count], positions[row, end : end + count] = torch.tensor(one.tokens), start + torch.arange(count)
                parts[row, end : end + count] = part
                rows += [row] * count
                before += [start - 1, *range(end, end + count - 1)]
                chosen += one.tokens
                end += count
            parts[row, end:] = -1
        seen = (parts[:, None, :] == parts[:, :, None]) | (parts[:, None, :] == 0)
        seen &= torch.ones(width, width, dtype=torch.bool).tril()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            states = self.model.model(input_ids=ids, attention_mask=seen[:, None], position_ids=positions, use_cache=False).last_hidden_state
            logits = self.model.lm_head(states[torch.tensor(rows), torch.tensor(before)])
        return torch.log_softmax(logits.float(), -1).gather(1, torch.tensor(chosen)[:, None])[:, 0]
