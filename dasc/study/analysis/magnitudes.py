"""Which magnitude suits which sparsity: Eq. 3 of Yu, Zhang, Ma 2023, the optimal and the maximal one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from lightning.pytorch import Trainer

from dasc import checkpoint
from dasc.config import ConfigReader
from dasc.data import ImageData
from dasc.errors import UserError
from dasc.study.analysis.results import Axes, axis_column, is_number, last_rows, maximal, optimal, seed_values
from dasc.study.execution.scores import augmented_loss, scoring_trainer
from dasc.study.folders import CONFIG, checkpoint_path, read_json, run_folder, write_json
from dasc.study.plan import Plan

DRAWS = 5
"""Fixed draws of the augmentation that the cross entropy of Eq. 3 is the mean over."""

METRIC = "val_accuracy_last"

CHOICES = ("optimal", "maximal", "eq3")


@dataclass(frozen=True)
class Suited:
    """The magnitudes that suit one sparsity.

    Args:
        sparsity: Share of zeros.
        eq3: Eq. 3's M*: the magnitude, of those trained at, whose networks answer best on validation images that are
            augmented at it; it favours small ones. None: no run had a number for its magnitude.
        optimal: The best clean validation accuracy; `none` where no augmentation is best.
        maximal: The largest that is not worse than no augmentation; None where none is, or `none` was not run.
    """

    sparsity: float
    eq3: int | None
    optimal: str | None
    maximal: int | None

    def chosen(self, by: str) -> int | str:
        """Return the magnitude by one of `CHOICES`; a UserError says that there is none."""
        value = getattr(self, by)
        if value is None:
            raise UserError(
                f"sparsity {self.sparsity:g} has no {by} magnitude: add magnitudes (and none) to the study, "
                "or choose by another"
            )
        return int(value) if str(value).isdecimal() else str(value)


def select(rows: pd.DataFrame, axes: Axes, chosen: Mapping[str, str]) -> pd.DataFrame:
    """Return the last stage of each run and sparsity, of the networks with the chosen labels of some axes."""
    kept = last_rows(rows)
    for axis, label in chosen.items():
        if axis not in axes or label not in axes[axis]:
            raise UserError(f"--select {axis}={label} is no label of the study: it has {dict(axes)}")
        kept = kept[kept[axis_column(axis)] == label]
    setting = kept.groupby(["seed", "magnitude", "sparsity_asked"], observed=True)
    for axis in axes:
        differ = setting[[axis_column(axis), "test_nll"]].filter(
            lambda those: those.iloc[:, 0].nunique() > 1 and those["test_nll"].nunique() > 1
        )
        if len(differ):
            raise UserError(
                f"the study has several networks for each magnitude and sparsity, by the axis {axis}: choose one by "
                f"--select '{axis}={differ.iloc[0, 0]}'"
            )
    return kept


def suited(rows: pd.DataFrame, losses: Mapping[tuple[str, int], float]) -> list[Suited]:
    """Return what suits each sparsity, from its last stages and their losses of Eq. 3 by run and stage."""
    accuracies = seed_values(rows, ["sparsity_asked", "magnitude"], METRIC)
    augmented = [losses.get((run, stage), math.nan) for run, stage in zip(rows["run"], rows["stage"], strict=True)]
    found = []
    for sparsity, values in accuracies.groupby(level="sparsity_asked"):
        means = values.droplevel("sparsity_asked").groupby(level="magnitude", observed=True).mean().to_dict()
        here = rows.assign(loss=augmented)[rows["sparsity_asked"] == sparsity]
        here = here.drop_duplicates(["seed", "magnitude", "loss"])  # runs share stages
        by_loss = {
            int(m): loss for m, loss in here.groupby("magnitude", observed=True)["loss"].mean().items() if is_number(m)
        }
        best = min(by_loss, key=lambda m: (by_loss[m], m), default=None)
        found.append(Suited(float(str(sparsity)), best, optimal(means, METRIC), maximal(means, METRIC)))
    return found


def augmented_losses(
    rows: pd.DataFrame, plan: Plan, results: Path, reader: ConfigReader
) -> dict[tuple[str, int], float]:
    """Return the cross entropy of Eq. 3 by run and stage: on augmented validation images, mean over fixed draws.

    Each network is scored once; the scores are kept in its folder.
    """
    scoring: tuple[Trainer, ImageData] | None = None
    losses: dict[tuple[str, int], float] = {}
    numbers = rows[[is_number(magnitude) for magnitude in rows["magnitude"]]]
    for run, stage, magnitude in zip(numbers["run"], numbers["stage"], numbers["magnitude"], strict=True):
        folder = run_folder(results, _trained_in(plan, run, stage))
        kept = folder / "augmented_loss.json"
        known = read_json(kept) or {}
        key = f"stage {stage}, M {magnitude}, {DRAWS} draws"
        if key not in known:
            config = yaml.safe_load((folder / CONFIG).read_text())
            trusted = [
                *(config.get("trust") or ()),
                config["model"]["init_args"]["network"]["class_path"].split(".")[0],
            ]
            loaded = checkpoint.load_network(checkpoint_path(folder, f"stage-{stage}"), trusted)
            scoring = scoring or _scoring(folder, reader, loaded.meta)
            trainer, data = scoring
            known[key] = augmented_loss(trainer, loaded.network, data, int(magnitude), DRAWS)
            write_json(kept, known)
        losses[run, stage] = known[key]
    return losses


def overlay(found: Sequence[Suited], by: str, rows: pd.DataFrame, results: Path) -> str:
    """Return a config of the table with the magnitude that suits each sparsity, for `dasc fit` over the study's own.

    Rows keep the length and the learning rate that they have in the study.
    """
    head, lines = f"# The {by} magnitude at each sparsity, from {results}.\n", ""
    for each in found:
        row = rows[rows["sparsity_asked"] == each.sparsity].iloc[0]
        config = yaml.safe_load((run_folder(results, row["run"]) / CONFIG).read_text())
        stage = config["stages"][row["stage"] - 1] | {"magnitude": each.chosen(by)}
        lines += f"  - {yaml.safe_dump(stage, default_flow_style=True, sort_keys=False, width=1000).strip()}\n"
    scales = (f"{name}: {config.get(name, 1.0)}\n" for name in ("epochs_scale", "auxiliary_scale"))
    return f"{head}{''.join(scales)}stages:\n{lines}"


def _trained_in(plan: Plan, run: str, stage: int) -> str:
    """Return the ID of the training of a stage of a run: its own, or one that it continues from."""
    training = plan.trainings[run]
    while training.start is not None and stage <= training.start_rows:
        training = plan.trainings[training.start]
    return training.id


def _scoring(folder: Path, reader: ConfigReader, recorded: Mapping[str, Any]) -> tuple[Trainer, ImageData]:
    config = yaml.safe_load((folder / CONFIG).read_text())
    _, data = reader.make(config)
    data.use(recorded)
    data.source.check_unseen("val", recorded)
    return scoring_trainer(config["trainer"]["accelerator"], config["trainer"].get("precision")), data
