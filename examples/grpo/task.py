"""What the model is to learn: sums, answered with the number and nothing else; and the reward, which any reader can check."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_SHOT = ("What is 6 + 3?", "9")  # one solved sum in each prompt


@dataclass(frozen=True)
class Sum:
    a: int
    b: int

    @property
    def answer(self) -> int:
        return self.a + self.b

    def prompt(self, tokenizer: Any) -> list[int]:
        """Token ids, in the model's chat format."""
        said = [("system", "You reply with a number."), ("user", _SHOT[0]), ("assistant", _SHOT[1]), ("user", f"What is {self.a} + {self.b}?")]
        ids = tokenizer.apply_chat_template([{"role": who, "content": what} for who, what in said], add_generation_prompt=True, return_dict=False)
        return [int(one) for one in ids]


@dataclass(frozen=True)
class Score:
    """0.5 for a reply that is a number and nothing else, 0.5 more where it is the sum's."""

    is_number: bool
    is_right: bool

    @property
    def reward(self) -> float:
        return 0.5 * self.is_number + 0.5 * self.is_right


def score(problem: Sum, reply: str, finished: bool) -> Score:
    """`finished`: the model ended the reply by itself."""
    number = re.fullmatch(r"\s*(\d{1,6})\.?\s*", reply) if finished else None
    return Score(number is not None, number is not None and int(number[1]) == problem.answer)


def draw(count: int, rng: random.Random, exclude: Sequence[Sum] = ()) -> list[Sum]:
    """Different sums of two numbers from 1 to 20."""
    every = [Sum(a, b) for a in range(1, 21) for b in range(1, 21) if Sum(a, b) not in set(exclude)]
    return rng.sample(every, count)
