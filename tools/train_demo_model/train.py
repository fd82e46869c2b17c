"""Train the demo model from scratch.

python -m tools.train_demo_model.train WORK_DIR [--steps N]

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

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from tools.train_demo_model.conversation import LATER, TASKS
from tools.train_demo_model.llama import Llama, Shape
from tools.train_demo_model.rows import BATCH, Rows, batches, make_tokenizer

# Steps, and the part of the peak learning rate at them; straight lines between.
SCHEDULE = ((0, 0.02), (60, 1.0), (1100, 1.0), (1502, 0.635), (2400, 0.116), (2460, 0.4), (3500, 0.0))
STEPS = SCHEDULE[-1][0]
SECOND_PART = 2400
PEAK_RATE = 3e-3
SEED = 1
TOKENIZER_TEXTS = 20000
SAVE_EVERY = 100

Forward = Callable[[Tensor], Tensor]


def optimizers(model: Llama) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for the rest."""
    matrices = [weight for weight in model.blk.parameters() if weight.ndim == 2]
    others = [weight for weight in model.parameters() if not any(weight is matrix for matrix in matrices)]
    return [
        torch.optim.Muon(matrices, lr=PEAK_RATE, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=PEAK_RATE, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def rate(step: int) -> float:
    """The learning rate of a step."""
    at, parts = zip(*SCHEDULE, strict=True)
    return PEAK_RATE * float(np.interp(step, at, parts))


def text(tokenizer: Tokenizer) -> Iterator[Rows]:
    """The training rows of both parts."""
    yield from itertools.islice(batches(tokenizer, SEED, TASKS), SECOND_PART)
    yield from batches(tokenizer, SEED + 1, LATER)


@dataclass(slots=True, kw_only=True)
class Run:
    """A training that can be stopped after any checkpoint and go on later."""

    work: Path
    shape: Shape
    tokenizer: Tokenizer
    model: Llama
    optims: list[torch.optim.Optimizer]
    step: int = 0
    seconds: float = 0.0
    loss: float = 0.0

    @classmethod
    def start(cls, work: Path) -> "Run":
        """A new run, or the one that stopped in WORK."""
        torch.manual_seed(SEED)
        shape = Shape()
        model = Llama(shape)
        run = cls(work=work, shape=shape, tokenizer=tokenizer_in(work, shape), model=model, optims=optimizers(model))
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
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = forward(tokens[:, :-1])[wanted[:, 1:]]
            loss = self.model.loss(hidden, tokens[:, 1:][wanted[:, 1:]])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optim in self.optims:
            for group in optim.param_groups:
                group["lr"] = rate(self.step)
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


def tokenizer_in(work: Path, shape: Shape) -> Tokenizer:
    """The tokenizer of this work folder, made when it is not there."""
    path = work / "tokenizer.json"
    if not path.exists():
        make_tokenizer(shape.vocab, SEED, TOKENIZER_TEXTS).save(str(path))
    return Tokenizer.from_file(str(path))


def train(run: Run, steps: int) -> None:
    """Go on until STEPS steps are done."""
    forward = torch.compile(run.model, dynamic=False)
    start = time.monotonic() - run.seconds
    for rows in itertools.islice(text(run.tokenizer), run.step, steps):
        run.learn(rows, forward)
        run.seconds = time.monotonic() - start
        if run.step % SAVE_EVERY == 0 or run.step == steps:
            run.save()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train the demo model.")
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.cores)
    options.work.mkdir(parents=True, exist_ok=True)
    train(Run.start(options.work), options.steps)


if __name__ == "__main__":
    main()
