"""What vLLM's worker inherits from, besides its own class, to receive as verl does."""

from __future__ import annotations

from verl_shm import transfer

transfer()

from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension  # noqa: E402


class Worker(vLLMColocateWorkerExtension):
    def packs(self) -> bool:
        """Whether vLLM has dropped parameters for packed copies of them, which verl can't load into."""
        return any(one.numel() == 0 for one in self.model_runner.model.parameters())
