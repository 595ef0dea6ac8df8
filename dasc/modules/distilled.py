"""A classifier that learns from labels and from a teacher."""

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from dasc.data import Batch, ImageData
from dasc.errors import UserError
from dasc.losses import Divergence, distillation, select, selection_scores
from dasc.metrics import correct
from dasc.modules.classifier import targets_of
from dasc.modules.pruned import PrunedClassifier
from dasc.modules.teacher import LoadedTeacher, TeacherConfig, check_stage, load_teacher
from dasc.networks import forward_in_parts
from dasc.stages import MAX_MAGNITUDE, Constant, Stages
from dasc.stages.structure import restore_structure, structure_of

_DTYPES = {"bf16": torch.bfloat16, "16": torch.float16, "64": torch.float64}


@dataclass(frozen=True)
class Selection:
    """How the teacher chooses one of n augmented views of each image (Yu et al. 2023, Eq. 6).

    The view with the lowest `ce_weight CE(teacher, label) - kl_weight divergence(student, teacher)` is trained on.

    Args:
        views: Number of views, n, at least 2.
        ce_weight: Weight of the teacher's cross entropy, at least 0.
        kl_weight: Weight of the divergence of student and teacher, at least 0, not 0 together with `ce_weight`.
        divergence: `kl`, as the paper's text says, or `cross_entropy`, as its Eq. 4 is printed.

    Raises:
        UserError: A value is outside its range.
    """

    views: int = 4
    ce_weight: float = 1.0
    kl_weight: float = 1.0
    divergence: Divergence = "kl"

    def __post_init__(self) -> None:
        if self.views < 2:
            raise UserError(f"selection.views is {self.views}: write at least 2, or selection: none")
        for name in ("ce_weight", "kl_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"selection.{name} is {getattr(self, name)}: write a number, at least 0")
        if self.ce_weight == self.kl_weight == 0:
            raise UserError("selection.ce_weight and kl_weight are both 0: write one over 0, or selection: none")


class DistilledClassifier(PrunedClassifier):
    """A classifier that learns from labels and from a teacher's answers: `alpha CE + (1 - alpha) KL`.

    Args:
        network: The student: maps normalised images (B, 3, H, W) to logits (B, num_classes); keeps its constructor's
            arguments.
        teacher: Where the teacher comes from.
        alpha: Weight of the cross entropy, in (0, 1].
        temperature: Softens both answers in KL, over 0.
        selection: How the teacher chooses each image's augmentation; `none` leaves it to chance.
        targets: `label`, or `teacher`, which drops the cross entropy: with MixUp or CutMix the student then learns the
            teacher's own answer to the mixed image.
        **kwargs: These and `stages` are arguments of `PrunedClassifier`.

    Raises:
        UserError: A value is outside its range, or what `PrunedClassifier` raises.

    References:
        Hinton, Vinyals, Dean, https://arxiv.org/abs/1503.02531; Yu, Zhang, Ma, https://arxiv.org/abs/2305.13232.
    """

    def __init__(
        self,
        network: nn.Module,
        stages: Stages,
        teacher: TeacherConfig | None = None,
        alpha: float = 0.1,
        temperature: float = 4.0,
        selection: Selection | Literal["none"] = "none",
        targets: Literal["label", "teacher"] = "label",
        **kwargs: Any,
    ) -> None:
        super().__init__(network, stages, **kwargs)
        if not 0 < alpha <= 1:
            raise UserError(f"alpha is {alpha}: write a number over 0, at most 1")
        if not 0 < temperature < math.inf:
            raise UserError(f"temperature is {temperature}: write a number over 0")
        if targets == "teacher" and alpha == 1:
            raise UserError("targets: teacher drops the cross entropy, and alpha 1 the rest: write an alpha below 1")
        self.source = teacher or TeacherConfig()
        self.alpha = alpha
        self.temperature = temperature
        self.selection = None if selection == "none" else selection
        self.targets = targets
        self._teacher: LoadedTeacher | None = None
        if self.source.stage is not None:
            check_stage(self.source, len(stages))
            _check_no_views(self.selection)
        self._chosen_bins: Tensor | None = None
        if self.selection is not None:
            _check_views(stages)

    @property
    def teacher(self) -> LoadedTeacher:
        """The teacher, once the data are known; with `teacher.stage`, once that stage is over."""
        assert self._teacher is not None, "call prepare(data) first"
        return self._teacher

    @property
    def waits_for_teacher(self) -> bool:
        """Whether the stage of `teacher.stage` is not over."""
        return self.source.stage is not None and self._teacher is None

    def use_teacher(self, network: nn.Module) -> None:
        """Learn from a network of the student's classes and normalisation, which is frozen in eval mode."""
        self._teacher = LoadedTeacher(network)
        self._place_teacher()

    def _place_teacher(self) -> None:
        name, _, kind = str(self.trainer.precision).partition("-")
        dtype = _DTYPES.get(name, torch.float32)
        self.teacher.to(self.trainer.strategy.root_device, dtype, whole=kind == "true")

    def prepare(self, data: ImageData) -> None:
        """Load the teacher, check that it and the augmentation go with the data, and ask the data for views."""
        super().prepare(data)
        if self.selection is not None and data.mix != "none":
            raise UserError(
                f"selection scores each view by its label, and data.mix {data.mix} gives images two: "
                "set one of them to none"
            )
        if self._teacher is None and self.source.stage is None:
            self._teacher = load_teacher(self.source, data, self.trusted_modules())
        data.augmentation.views = 1 if self.selection is None else self.selection.views

    def setup(self, stage: str) -> None:
        """As `Classifier`; bring the teacher to the device of the training."""
        super().setup(stage)
        if stage == "fit" and self.source.stage is not None:
            self._teacher = None  # that of an earlier fit
        elif stage == "fit":
            self._place_teacher()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss, its parts, and how the teacher answers what the student is trained on."""
        if self.waits_for_teacher:
            return super().loss(batch)
        if self.selection is None:
            images, answers = batch.images, self.teacher.logits(batch.images)
            more: dict[str, Tensor] = {}
        else:
            images, answers, more = self._chosen(batch, self.selection)
        logits, targets = self(images), targets_of(batch)
        loss, ce, kl = distillation(logits, answers, targets, self.alpha, self.temperature, self.label_smoothing)
        return {
            "loss": loss if self.targets == "label" else (1 - self.alpha) * kl,
            "accuracy": correct(logits, targets).mean(),
            "ce": ce,
            "kl": kl,
            "teacher_accuracy": correct(answers, targets).mean(),
            "teacher_entropy": _entropy(answers),
            **more,
        }

    def _chosen(self, batch: Batch, selection: Selection) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the chosen view of each image, the teacher's logits of it, and what is logged of the choice."""
        views, count = batch.images.shape[:2]
        every = batch.images.flatten(0, 1)
        answers = self.teacher.logits(every)
        student = answers if selection.kl_weight == 0 else self._student_logits(every)
        scores = selection_scores(
            teacher=answers.view(views, count, -1),
            student=student.view(views, count, -1),
            targets=batch.targets,
            ce_weight=selection.ce_weight,
            kl_weight=selection.kl_weight,
            temperature=self.temperature,
            kind=selection.divergence,
        )
        places = select(scores) * count + torch.arange(count, device=scores.device)
        missed = 1 - correct(answers, batch.targets.repeat(views)).mean()
        more = {"misclassified_views": missed}
        if batch.magnitudes is not None:
            chosen = batch.magnitudes.flatten()[places]
            more["chosen_magnitude"] = chosen.float().mean()
            self._count(chosen)
        return every[places], answers[places], more

    def _student_logits(self, images: Tensor) -> Tensor:
        with _evaluating(self.network):
            return forward_in_parts(self.network, images)

    def _count(self, chosen: Tensor) -> None:
        # not bincount: it makes a GPU wait
        counts = (chosen[:, None] == torch.arange(MAX_MAGNITUDE + 1, device=chosen.device)).sum(0)
        self._chosen_bins = counts if self._chosen_bins is None else self._chosen_bins.add_(counts)

    def take_chosen_bins(self) -> Tensor | None:
        """Return how many views of each M (int64 (31,)) this process chose since the last call; None for no choice."""
        counts, self._chosen_bins = self._chosen_bins, None
        return counts

    def epoch_state(self) -> dict[str, Any]:
        """As `Classifier`, with the magnitudes chosen."""
        chosen = None if self._chosen_bins is None else self._chosen_bins.tolist()
        return super().epoch_state() | {"chosen_bins": chosen}

    def load_epoch_state(self, state: Mapping[str, Any]) -> None:
        """As `Classifier`, with the magnitudes chosen."""
        super().load_epoch_state(state)
        chosen = state["chosen_bins"]
        device = self.trainer.strategy.root_device
        self._chosen_bins = None if chosen is None else torch.tensor(chosen, device=device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """As `Classifier`, with a teacher that the run has made itself."""
        super().on_save_checkpoint(checkpoint)
        if self.source.stage is not None and self._teacher is not None:
            network = self._teacher.network
            checkpoint["teacher"] = {"structure": structure_of(network), "state_dict": network.state_dict()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """As `Classifier`, with a teacher that the run has made itself."""
        network = copy.deepcopy(self.network)  # in the structure of the first row
        super().on_load_checkpoint(checkpoint)
        if self.trainer.state.fn == TrainerFn.FITTING and "teacher" in checkpoint:
            restore_structure(network, checkpoint["teacher"]["structure"])
            network.load_state_dict(checkpoint["teacher"]["state_dict"])
            self.use_teacher(network)

    def recipe(self) -> dict[str, Any]:
        """As `PrunedClassifier`, with how it is distilled and from which weights."""
        own = f"stage {self.source.stage}"
        return super().recipe() | {
            "alpha": self.alpha,
            "temperature": self.temperature,
            "selection": "none" if self.selection is None else asdict(self.selection),
            "targets": self.targets,
            "teacher": own if self.source.stage else None if self._teacher is None else self._teacher.hash,
        }


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Set a network to eval mode for a while; modules that were not training are left so."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _check_no_views(selection: Selection | None) -> None:
    if selection is not None:
        raise UserError(
            f"selection must be none with teacher.stage, got views {selection.views}: there is no teacher to choose "
            "views before that stage ends; to select views, give teacher.path"
        )


def _check_views(stages: Stages) -> None:
    for number, row in enumerate(stages, start=1):
        if row.magnitude == Constant("none"):
            raise UserError(
                f"stage {number} has magnitude none, all views of an image would be the same: "
                "write magnitude: random, or selection: none"
            )


def _entropy(logits: Tensor) -> Tensor:
    log_p = logits.float().log_softmax(1)
    return -(log_p.exp() * log_p).sum(1).mean()
