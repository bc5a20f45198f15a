"""The training loop of every model: the `Trainer` of transformers with batches of our own, resumable at any step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, logging

from workers.training.checkpoints import KEPT, Checkpoints
from workers.training.progress import ProgressLine, Stopwatch

WARM_UP, FALL = 0.02, 0.5  # shares of the steps
WEIGHT_DECAY, BETAS, CLIP = 0.1, (0.9, 0.95), 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast to learn. `batch` rows a step; the learning rate is the highest, and ends at 0.

    `rows` is what they are, in the plural.
    """

    steps: int
    batch: int
    learning_rate: float
    precision: Literal["fp32", "bf16"]
    seed: int
    weight_decay: float = WEIGHT_DECAY
    rows: str = "molecules"


class LoaderTrainer(Trainer):
    """The `Trainer`, with batches from a loader of our own."""

    def __init__(self, loader: DataLoader[Any], **known: Any) -> None:
        super().__init__(**known, train_dataset=loader.dataset)
        self._loader = loader

    def get_train_dataloader(self) -> Any:
        """See Trainer."""
        return self.accelerator.prepare(self._loader)


def learn(
    plan: Plan,
    model: Any,
    tokenizer: Any,
    loader: DataLoader[Any],
    checkpoints: Path,
    begun: Path | None,
    *,
    save_seconds: float,
    saved: Callable[[Path], None],
    loss: Callable[..., Any] | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> None:
    """Train to the plan's end, from checkpoint `begun` if there is one; `saved` is told of each whole checkpoint.

    `loss` takes the model's outputs and the labels; unset, it is the model's own. What `callbacks` write into a
    checkpoint is there before it counts as whole. A run that has ended is only told of.
    """
    if begun is not None and step_of(begun) >= plan.steps:
        saved(begun)
        return
    trainer = LoaderTrainer(
        loader,
        model=model,
        args=_arguments(plan, checkpoints),
        processing_class=tokenizer,
        compute_loss_func=loss,
        callbacks=[
            *callbacks,
            Checkpoints(checkpoints, save_seconds, saved),
            ProgressLine(plan.batch, plan.rows),
            Stopwatch(),
        ],
    )
    trainer.remove_callback(PrinterCallback)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    trainer.train(resume_from_checkpoint=None if begun is None else str(begun))


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint was saved after."""
    return int(checkpoint.name.rpartition("-")[2])


def _arguments(plan: Plan, checkpoints: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=plan.steps,
        per_device_train_batch_size=plan.batch,
        learning_rate=plan.learning_rate,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": math.ceil(FALL * plan.steps), "decay_type": "linear"},
        warmup_steps=math.ceil(WARM_UP * plan.steps),
        adam_beta1=BETAS[0],
        adam_beta2=BETAS[1],
        weight_decay=plan.weight_decay,
        max_grad_norm=CLIP,
        optim="adamw_torch_fused",
        bf16=plan.precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        seed=plan.seed,
        logging_steps=min(10, plan.steps),
        save_strategy="no",  # by the clock: `Checkpoints`
        save_total_limit=KEPT,
        restore_callback_states_from_checkpoint=True,
        include_num_input_tokens_seen="non_padding",
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to="none",
    )
