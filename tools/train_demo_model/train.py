"""Train the demo model from scratch, or train an exported one on.

python -m tools.train_demo_model.train WORK_DIR [--steps N]
python -m tools.train_demo_model.train WORK_DIR --from FILE.gguf

WORK_DIR receives tokenizer.json, log.jsonl, model.pt, and state.pt, from which
an interrupted run goes on. The text, its order and the number of steps depend
on the seed and on nothing else.
"""

import argparse
import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from tools.train_demo_model.conversation import LATER, TASKS, WIDER
from tools.train_demo_model.llama import Llama, Shape
from tools.train_demo_model.rows import BATCH, Rows, batches, make_tokenizer, tokenizer_of

SECOND_PART = 2400
SEED = 1
TOKENIZER_TEXTS = 20000
SAVE_EVERY = 50

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The learning rate at some steps, with straight lines between; what is read; and how."""

    peak: float
    schedule: tuple[tuple[int, float], ...]
    text: Callable[[Tokenizer], Iterator[Rows]]
    optimizers: Callable[[Llama], list[torch.optim.Optimizer]]
    half_precision: bool

    @property
    def steps(self) -> int:
        """The step at which the learning rate is 0."""
        return self.schedule[-1][0]

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        at, parts = zip(*self.schedule, strict=True)
        return self.peak * float(np.interp(step, at, parts))


def muon_and_adam(model: Llama) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for the rest."""
    matrices = [weight for weight in model.blk.parameters() if weight.ndim == 2]
    others = [weight for weight in model.parameters() if not any(weight is matrix for matrix in matrices)]
    return [
        torch.optim.Muon(matrices, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def adam(model: Llama) -> list[torch.optim.Optimizer]:
    """AdamW for all: Muon takes most of a step where the processor has no bfloat16."""
    return [torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.0)]


def text(tokenizer: Tokenizer) -> Iterator[Rows]:
    """The training rows of both parts."""
    yield from itertools.islice(batches(tokenizer, SEED, TASKS), SECOND_PART)
    yield from batches(tokenizer, SEED + 1, LATER)


def wider_text(tokenizer: Tokenizer) -> Iterator[Rows]:
    """The training rows for a model that has learnt to write."""
    return batches(tokenizer, SEED + 2, WIDER)


FROM_SCRATCH = Plan(
    peak=3e-3,
    schedule=((0, 0.02), (60, 1.0), (1100, 1.0), (1502, 0.635), (2400, 0.116), (2460, 0.4), (3500, 0.0)),
    text=text,
    optimizers=muon_and_adam,
    half_precision=True,
)
FURTHER = Plan(
    peak=1e-3,
    schedule=((0, 0.02), (30, 1.0), (300, 1.0), (600, 0.0)),
    text=wider_text,
    optimizers=adam,
    half_precision=False,
)


@dataclass(slots=True, kw_only=True)
class Run:
    """A training that can be stopped after any checkpoint and go on later."""

    work: Path
    plan: Plan
    shape: Shape
    tokenizer: Tokenizer
    model: Llama
    optims: list[torch.optim.Optimizer]
    step: int = 0
    seconds: float = 0.0
    loss: float = 0.0

    @classmethod
    def start(cls, work: Path, first: Path | None = None) -> "Run":
        """A new run, from the weights of the GGUF file FIRST if there is one, or the run that stopped in WORK."""
        torch.manual_seed(SEED)
        shape = Shape()
        model = Llama(shape)
        if first:
            model.load_state_dict(weights_of(first))
        plan = FURTHER if first else FROM_SCRATCH
        tokenizer = tokenizer_in(work, shape, first)
        run = cls(work=work, plan=plan, shape=shape, tokenizer=tokenizer, model=model, optims=plan.optimizers(model))
        if (work / "state.pt").exists():
            saved = torch.load(work / "state.pt")
            run.step, run.seconds, run.loss = saved["step"], saved["seconds"], saved["loss"]
            model.load_state_dict(saved["weights"])
            for optim, state in zip(run.optims, saved["optims"], strict=True):
                optim.load_state_dict(state)
        return run

    def learn(self, rows: Rows, forward: Forward) -> None:
        """One step."""
        tokens, wanted = torch.from_numpy(rows.tokens), torch.from_numpy(rows.learn)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.plan.half_precision):
            hidden = forward(tokens[:, :-1])[wanted[:, 1:]]
            loss = self.model.loss(hidden, tokens[:, 1:][wanted[:, 1:]])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optim in self.optims:
            for group in optim.param_groups:
                group["lr"] = self.plan.rate(self.step)
            optim.step()
            optim.zero_grad()
        self.loss += (loss.item() - self.loss) * max(0.02, 1 / (self.step + 1))
        self.step += 1

    def save(self) -> None:
        """Write a checkpoint, and a line of the log."""
        weights = self.model.state_dict()
        torch.save({"shape": dataclasses.asdict(self.shape), "weights": weights}, self.work / "model.pt")
        optims = [optim.state_dict() for optim in self.optims]
        state = {"step": self.step, "seconds": self.seconds, "loss": self.loss, "weights": weights, "optims": optims}
        torch.save(state, self.work / "state.part")
        (self.work / "state.part").replace(self.work / "state.pt")
        line = {
            "step": self.step,
            "tokens": self.step * BATCH,
            "seconds": round(self.seconds),
            "loss": round(self.loss, 4),
        }
        with (self.work / "log.jsonl").open("a", encoding="utf-8") as log:
            print(json.dumps(line), file=log)


def weights_of(path: Path) -> dict[str, Tensor]:
    """The weights of a GGUF file, in F32."""
    tensors = gguf.GGUFReader(path).tensors
    return {
        tensor.name: torch.from_numpy(np.array(gguf.dequantize(tensor.data, tensor.tensor_type))) for tensor in tensors
    }


def tokenizer_in(work: Path, shape: Shape, first: Path | None) -> Tokenizer:
    """The tokenizer of this work folder; when it is not there, that of the file FIRST, or else a new one."""
    path = work / "tokenizer.json"
    if not path.exists():
        made = tokenizer_of(first) if first else make_tokenizer(shape.vocab, SEED, TOKENIZER_TEXTS)
        made.save(str(path))
    return Tokenizer.from_file(str(path))


def train(run: Run, steps: int) -> None:
    """Go on until STEPS steps are done."""
    forward = torch.compile(run.model, dynamic=False) if run.plan.half_precision else run.model
    start = time.monotonic() - run.seconds
    for rows in itertools.islice(run.plan.text(run.tokenizer), run.step, steps):
        run.learn(rows, forward)
        run.seconds = time.monotonic() - start
        if run.step % SAVE_EVERY == 0 or run.step == steps:
            run.save()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train the demo model.")
    parser.add_argument("work", type=Path)
    parser.add_argument("--from", type=Path, dest="first", metavar="FILE.gguf")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.cores)
    options.work.mkdir(parents=True, exist_ok=True)
    run = Run.start(options.work, options.first)
    train(run, options.steps or run.plan.steps)


if __name__ == "__main__":
    main()
