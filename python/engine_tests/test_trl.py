"""TRL's real AsyncGRPOTrainer, on a CPU, sends its weights through wsync: its first sync, and two more."""

from __future__ import annotations

import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from datasets import Dataset
from trl.experimental.async_grpo import AsyncGRPOConfig, AsyncGRPOTrainer, async_grpo_trainer

import wsync
import wsync.torch
from wsync.trl import WeightTransfer


class Enough(Exception):
    pass


class Rollouts:
    """A rollout worker that calls `begin` where it would begin: TRL starts it after its first sync."""

    def __init__(self, begin: Callable[[], None]) -> None:
        self.rollout_buffer: queue.Queue[Any] = queue.Queue()
        self.metrics_queue: queue.Queue[Any] = queue.Queue()
        self.versions: list[int] = []
        self.start = begin

    def stop(self) -> None:
        pass

    def update_model_version(self, model_version: int) -> None:
        self.versions.append(model_version)

    def check_health(self, stale_after_s: float) -> None:
        pass


class Engine:
    """In the place of a vLLM server and its worker: takes each version, and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.weights: dict[str, torch.Tensor] = {}
        self.receiver: wsync.Receiver | None = None

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self.told.append("init")
        self.session = wsync.Session.open(init_info["control"], socket_directory=init_info["socket_directory"])
        self.receiver = self.session.receiver(init_info["name"], use="map_then_install")

    def start_weight_update(self) -> None:
        self.told.append("start")

    def update_weights(self, update_info: Any) -> None:
        assert self.receiver is not None
        with self.receiver.stage(deadline=30) as staged:
            assert staged.version.label == update_info["version"]
            self.weights = {name: tensor.clone() for name, tensor in wsync.torch.tensors(staged.tensors()).items()}
            self.receiver.activate(staged)
        self.told.append("update")

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self.told.append(f"finish {weight_version}")


def make_policy(folder: Path) -> tuple[Path, Any]:
    """A checkpoint in BF16 and its tokenizer; TRL loads it as FP32 masters."""
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[pad]": 0, "[eos]": 1, "[unk]": 2, "one": 3, "two": 4}, unk_token="[unk]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[pad]", eos_token="[eos]", unk_token="[unk]")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    config = transformers.Qwen2Config(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=64, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(1)
    transformers.Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, tokenizer


def test_the_trainer_sends_its_masters_rounded(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_grpo_trainer, "get_peak_flops_per_device", lambda *_: 1e12)  # it asks CUDA for a device's name
    policy, tokenizer = make_policy(tmp_path / "policy")
    engine = Engine()
    transfer = WeightTransfer(f"dir:{folder}", engine, socket_directory=str(folder / "sockets"))

    def three_syncs() -> None:
        """The first was the trainer's own. It closes `transfer` when its training ends, so the others come before."""
        told = ["init"]
        for sync in (1, 2, 3):
            if sync > 1:
                with torch.no_grad():
                    for parameter in trainer.model.parameters():
                        parameter.add_(torch.randn_like(parameter) * 0.01)
                trainer._sync_weight()  # what it does after every optimizer step of a run
            expected = {name: one.detach().to(torch.bfloat16) for name, one in trainer.model.named_parameters()}
            assert next(trainer.model.parameters()).dtype == torch.float32
            assert engine.weights.keys() == expected.keys() and "lm_head.weight" in expected
            assert all(engine.weights[name].dtype == torch.bfloat16 and torch.equal(engine.weights[name], tensor) for name, tensor in expected.items())
            told += ["start", "update", f"finish {transfer.label}"]
            assert engine.told == told and transfer.step == sync and transfer.label.startswith(f"policy@1.{sync}+")
            assert rollouts.versions[-1] == sync
        raise Enough

    rollouts = Rollouts(three_syncs)
    trainer = AsyncGRPOTrainer(
        model=str(policy),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=AsyncGRPOConfig(str(tmp_path / "out"), token_budget=128, max_steps=1, report_to=[], use_cpu=True, bf16=False),
        train_dataset=Dataset.from_dict({"prompt": [[{"role": "user", "content": "one"}]] * 4}),
        processing_class=tokenizer,
        rollout_worker=rollouts,
        weight_transfer=transfer,
    )
    with pytest.raises(Enough):
        trainer.train()
    with pytest.raises(wsync.Error, match="closed"):  # the trainer's destroy()
        transfer.send_weights(iter([]))
