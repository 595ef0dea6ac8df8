"""Which magnitude suits which sparsity: Eq. 3 of Yu, Zhang, Ma 2023, the optimal and the maximal one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from lightning.pytorch import Trainer

from dasc import checkpoint
from dasc.config import ConfigReader
from dasc.data import ImageData
from dasc.errors import UserError
from dasc.study.folders import CONFIG, checkpoint_path, read_json, run_folder, write_json
from dasc.study.points import is_number, last_rows, magnitude_points, maximal, optimal
from dasc.study.results import Row, axis_column
from dasc.study.scores import augmented_loss, scoring_trainer

DRAWS = 5
"""Fixed draws of the augmentation that the cross entropy of Eq. 3 is the mean over."""

METRIC = "val_accuracy_last"

CHOICES = ("optimal", "maximal", "eq3")


@dataclass(frozen=True)
class Suited:
    """What suits one sparsity.

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
        """Return the magnitude by one of `CHOICES`.

        Raises:
            UserError: There is none.
        """
        value = getattr(self, by)
        if value is None:
            raise UserError(
                f"sparsity {self.sparsity:g} has no {by} magnitude: add magnitudes (and none) to the study, "
                "or choose by another"
            )
        return int(value) if str(value).isdecimal() else str(value)


def select(rows: Sequence[Row], axes: Mapping[str, Sequence[str]], chosen: Mapping[str, str]) -> list[Row]:
    """Return the rows of the study with labels, one for each axis that is not about magnitude or sparsity.

    Raises:
        UserError: A label is missing or unknown.
    """
    for axis, label in chosen.items():
        if axis not in axes or label not in axes[axis]:
            raise UserError(f"--select {axis}={label} is no label of the study: it has {dict(axes)}")
    kept = [row for row in last_rows(rows) if all(row[axis_column(a)] == label for a, label in chosen.items())]
    for axis in axes:
        open_labels = _mixed(kept, axis)
        if open_labels:
            raise UserError(
                f"the study has several networks for each magnitude and sparsity, by the axis {axis}: choose one by "
                f"--select '{axis}={open_labels[0]}'"
            )
    return kept


def suited(rows: Sequence[Row], losses: Mapping[tuple[str, int], float]) -> list[Suited]:
    """Return what suits each sparsity, in ascending order.

    Args:
        rows: The last stage of each run and sparsity.
        losses: The cross entropy on augmented validation images, by run and stage.
    """
    (points,) = magnitude_points(rows, {}, METRIC).values()
    found = []
    for sparsity, by_magnitude in points.items():
        means = {
            int(magnitude): fmean(values)
            for magnitude in by_magnitude
            if is_number(magnitude)
            and (values := [losses[row["run"], row["stage"]] for row in _at(rows, sparsity, magnitude)])
        }
        best = min(means, key=lambda m: (means[m], m), default=None)
        found.append(Suited(sparsity, best, optimal(by_magnitude, METRIC), maximal(by_magnitude, METRIC)))
    return found


def augmented_losses(
    rows: Sequence[Row], plan: Mapping[str, Any], results: Path, reader: ConfigReader
) -> dict[tuple[str, int], float]:
    """Return the cross entropy of Eq. 3 by run and stage: on augmented validation images, mean over fixed draws.

    Each network is scored once; what was scored is kept beside it.
    """
    scoring: tuple[Trainer, ImageData] | None = None
    losses: dict[tuple[str, int], float] = {}
    for row in rows:
        if not is_number(row["magnitude"]):
            continue
        folder = run_folder(results, _trained_in(plan, row["run"], row["stage"]))
        kept = folder / "augmented_loss.json"
        known = read_json(kept) or {}
        key = f"stage {row['stage']}, M {row['magnitude']}, {DRAWS} draws"
        if key not in known:
            path = checkpoint_path(folder, f"stage-{row['stage']}")
            loaded = checkpoint.load_network(path, _trusted(folder))
            scoring = scoring or _scoring(folder, reader, loaded.meta)
            trainer, data = scoring
            known[key] = augmented_loss(trainer, loaded.network, data, int(row["magnitude"]), DRAWS)
            write_json(kept, known)
        losses[row["run"], row["stage"]] = known[key]
    return losses


def overlay(found: Sequence[Suited], by: str, rows: Sequence[Row], results: Path) -> str:
    """Return a config of the table with the magnitude that suits each sparsity, for `dasc fit` over the study's own.

    Rows keep the length and the learning rate that they have in the study.

    Raises:
        UserError: A sparsity has no such magnitude.
    """
    table = []
    for each in found:
        row = next(row for row in rows if row["sparsity_asked"] == each.sparsity)
        config = yaml.safe_load((run_folder(results, row["run"]) / CONFIG).read_text())
        table.append(config["stages"][row["stage"] - 1] | {"magnitude": each.chosen(by)})
    scale = config["epochs_scale"]
    head = f"# The {by} magnitude at each sparsity, from {results}.\n"
    lines = "".join(f"  - {_flow(row)}\n" for row in table)
    return f"{head}epochs_scale: {scale}\nstages:\n{lines}"


def _flow(row: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(row), default_flow_style=True, sort_keys=False, width=1000).strip()


def _at(rows: Sequence[Row], sparsity: float, magnitude: str) -> list[Row]:
    return [row for row in rows if row["sparsity_asked"] == sparsity and row["magnitude"] == magnitude]


def _mixed(rows: Sequence[Row], axis: str) -> list[str]:
    """Return the labels of an axis that networks of the same seed, magnitude and sparsity differ in."""
    labels: dict[tuple[Any, ...], dict[str, float]] = {}
    for row in rows:
        key = (row["seed"], row["magnitude"], row["sparsity_asked"])
        labels.setdefault(key, {})[row[axis_column(axis)]] = row["test_nll"]
    several = [found for found in labels.values() if len(set(found.values())) > 1]
    return list(several[0]) if several else []


def _trained_in(plan: Mapping[str, Any], run: str, stage: int) -> str:
    """Return the job that trained a stage of a run: its own, or one that it goes on from."""
    jobs = {job["id"]: job for job in plan["jobs"]}
    job = jobs[run]
    while job["start"] is not None and stage <= job["start_rows"]:
        job = jobs[job["start"]]
    return str(job["id"])


def _trusted(folder: Path) -> list[str]:
    """Return the modules that the config of a run trusts, and the module of its network."""
    config = yaml.safe_load((folder / CONFIG).read_text())
    network: str = config["model"]["init_args"]["network"]["class_path"]
    return [*(config.get("trust") or ()), network.partition(".")[0]]


def _scoring(folder: Path, reader: ConfigReader, recorded: Mapping[str, Any]) -> tuple[Trainer, ImageData]:
    config = yaml.safe_load((folder / CONFIG).read_text())
    _, data = reader.make(config)
    data.use(recorded)
    data.source.check_unseen("val", recorded)
    settings = config["trainer"]
    return scoring_trainer(settings["accelerator"], settings.get("precision")), data
