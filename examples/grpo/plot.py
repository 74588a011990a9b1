"""A run's picture: the reward, and where each step's time went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PARTS = {"sample": "#4878a8", "learn": "#8fb59b", "publish": "#d9a441", "stage and install": "#c2543d", "proof": "#bbbbbb"}


def plot(run: dict[str, Any], file: Path) -> None:
    """`run`: the document that run.py writes. Draws a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps = run["steps"]
    numbers = [one["step"] for one in steps]
    figure, (reward, time) = pyplot.subplots(2, 1, figsize=(7, 5.5), height_ratios=(3, 2), layout="constrained")
    for key, label, style in (("reward", "reward", "-o"), ("is_number", "a number alone", ":"), ("is_right", "right", "--")):
        reward.plot(numbers, [one[key] for one in steps], style, markersize=3, label=f"{label}, samples at temperature 1")
    for ends, label in (("held_out_before", "held out, greedy, before and after"), ("held_out_after", None)):
        if run.get(ends):
            reward.plot([numbers[0] if label else numbers[-1]], [run[ends]["reward"]], "k*", markersize=9, label=label)
    reward.set(ylabel="mean", ylim=(0, 1.02), title=f"GRPO on {run['model']}, weights by wsync")
    reward.legend(fontsize=7, loc="best")
    base = [0.0] * len(steps)
    for part, color in PARTS.items():
        values = [one["seconds"][part] for one in steps]
        time.bar(numbers, values, bottom=base, color=color, label=part)
        base = [a + b for a, b in zip(base, values, strict=True)]
    time.set(xlabel="step", ylabel="seconds")
    time.legend(fontsize=7, ncols=len(PARTS), loc="upper center", bbox_to_anchor=(0.5, 1.2), frameon=False)
    for one in (reward, time):
        one.xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(file, dpi=90)
