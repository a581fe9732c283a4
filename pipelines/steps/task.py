"""What is trained, as the loop of steps sees it. `pipelines/steps/loop.py` says how the loop uses it.

How a training is built on this room, in four parts:

1. A task: a class with what `StepTask` asks for. Its `module` holds the parameters (those with `requires_grad` are
   trained), its `loss` is the loss of a step, its `look` says how good the module is on rows that are held out.
2. A maker: a callable that gives the task for a `Workers`, such as `functools.partial(MyTask, settings)`. Each worker
   calls it once, in its own process when there are several; so it must be picklable, and what is large (rows, weights)
   is best read by the task itself, from where it lies.
3. A `StepRecipe`: rate, warm-up, clipping, when to look and when to stop.
4. A `CheckpointPlace`: one safetensors file, whose name should hold a digest of the recipe and the data, so that a
   checkpoint of another training is never taken for one of this.

`train_steps(...)` of `jobs/steps/run.py` is what a job calls: it trains in this process (`pipelines/steps/here.py`) or
on Ray (`pipelines/steps/on_ray.py`), says what it will cost and how far it is, and writes the metrics file and the
plot; a job's config inherits its `StepsOptions`. It gives the `TrainingState` at the end, whose `best` are the tensors
to keep, by their names in the module. The checkpoint stays until the result is stored: `drop_checkpoint(place)` is the
last line of a job.

**The one rule for several workers.** A step has one global batch, which depends on the seed and the step alone
(`pipelines/steps/batches.py`). Each worker computes the vectors of its own share, `workers.share(places)`, gathers
those of all with `workers.gather(own)`, and every worker returns *the same loss, of the whole batch*:

    def loss(self, step):
        places = self.batches.at(step)
        mine = self.workers.share(places)
        with self.workers.autocast():
            own = self.module(self.pixels(mine))
        return contrastive(self.workers.gather(own), labels[places], 0.1)

Gradients run back through `gather`, and are averaged over the workers; so both losses of pairs of rows and losses of
single rows (gather the vectors, the logits or the losses of rows) give what one worker gives, but for the order of
sums. A worker may have any number of rows, also none: labels are gathered as vectors are, where the task does not know
them all.

What the loop leaves to the task: `train()` and `eval()` of the module (a frozen tower stays in `eval`), gradient
checkpointing, and the seeds of augmentations (of seed, step and place; never of a generator that goes on). The loop
seeds torch's own generator at each step, for dropout. Batch normalisation in training takes the statistics of a
worker's own share: two workers then give another result than one, unless it is frozen or made synchronous (GPUs).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class HeldOutLook:
    """How good the module is on rows that are held out."""

    score: float
    """Lower is better: by it the best step is kept, and training is stopped."""
    figures: dict[str, float]
    """What is told and written, such as `held_out_loss`; the score should be among it, under a name of its own."""


class StepTask(Protocol):
    """A training of some module on some rows, on one worker."""

    @property
    def module(self) -> "nn.Module":
        """Holds all parameters, on `workers.device`, the same on each worker. Every parameter with `requires_grad` has
        a part in each loss."""

    def loss(self, step: int) -> "Tensor":
        """() float32 with gradient: of the whole batch of the step, the same on each worker."""

    def ids(self, step: int) -> Sequence[str]:
        """Ids of the rows of that batch, for an error; the first ten are shown."""

    def look(self) -> HeldOutLook:
        """Called without gradient on every worker; the first worker's answer counts. It leaves the module as it was,
        `train()` and `eval()` included."""
