from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from dasc.config import ConfigReader
from dasc.errors import UserError
from dasc.study.plan import SHARED, Run
from dasc.study.specification.file import read_study
from dasc.study.specification.runs import resolve_runs
from dasc.study.specification.sharing import share

RESULTS = Path("results")


@pytest.fixture(scope="module")
def reader() -> ConfigReader:
    return ConfigReader()


@pytest.fixture
def resolve(tiny: Path, tmp_path: Path, reader: ConfigReader) -> Any:
    def resolved(options: Mapping[str, Any] | None = None, results: Path = RESULTS, **given: Any) -> list[Run]:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({"name": "x", "configs": [str(tiny)]} | given, sort_keys=False))
        return resolve_runs(read_study(path), results, reader, options or {})

    return resolved


SEEDS = {"seed": {"seed_everything": "0..1"}}
GRID = {"magnitude": {"stages[*].magnitude": ["none", 4]}, "sparsity": {"stages[1:].sparsity": [0.4, 0.8]}}


def test_there_is_a_run_for_each_combination_in_the_files_order(resolve: Any) -> None:
    cells = resolve(axes=GRID | SEEDS)
    assert [tuple(cell.labels.values()) for cell in cells] == [
        (magnitude, sparsity, seed) for magnitude in ("none", "4") for sparsity in ("0.4", "0.8") for seed in "01"
    ]
    assert [cell.seed for cell in cells] == [0, 1] * 4
    assert len({cell.id for cell in cells}) == 8
    assert [(str(row.magnitude), row.sparsity) for row in cells[-1].stages] == [("4", 0.0), ("4", 0.8), ("4", 0.8)]
    assert cells[0].config["stages"][1] == {"epochs": 2, "sparsity": 0.4}


def test_overrides_are_applied_in_their_order_and_the_command_line_last(resolve: Any, tmp_path: Path) -> None:
    (tmp_path / "overlay.yaml").write_text("stages: [{epochs: 7, magnitude: 3}]\ndata: {init_args: {batch_size: 16}}\n")
    axis = {"overlay": {"config": "overlay.yaml", "stages[0].magnitude": 9}, "rows": {"stages": [{"epochs": 2}]}}
    overlay, rows = resolve(axes={"a": axis}, set={"data.batch_size": 32, "data.cutout": 2}, options={"data.cutout": 4})
    assert [stage.dump() for stage in overlay.stages] == [{"epochs": 7, "magnitude": 9}]
    assert [stage.dump() for stage in rows.stages] == [{"epochs": 2}]
    assert [c.config["data"]["init_args"]["batch_size"] for c in (overlay, rows)] == [16, 32]
    assert [c.config["data"]["init_args"]["cutout"] for c in (overlay, rows)] == [4, 4]


def test_the_content_is_what_is_trained_not_where_it_lies_or_how_it_is_written(resolve: Any) -> None:
    (plain,) = resolve(axes={"a": {"b": {}}})
    elsewhere = {"data.root": "/there", "data.num_workers": 3, "trainer.enable_progress_bar": "true", "trust": ["a"]}
    (other,) = resolve(axes={"c": {"d": {}}}, options=elsewhere, results=Path("another"))
    assert other.id == plain.id
    table = [{"epochs": 4, "magnitude": 14}, *({"epochs": 4, "sparsity": s, "magnitude": m} for s, m in WRITTEN)]
    (scaled,) = resolve(axes={"a": {"b": {"stages": table, "epochs_scale": 0.5, "data.root": "x"}}})
    assert scaled.id == plain.id
    changed = [{"data.cutout": 3}, {"seed_everything": 1}, {"trainer.precision": "bf16-mixed"}, {"stages[0].epochs": 3}]
    assert len({plain.id, *(resolve(axes={"a": {"b": each}})[0].id for each in changed)}) == 5


WRITTEN = [(0.3, [12, 8]), (0.6, "random")]


def test_combinations_that_are_excluded_are_not_run(resolve: Any) -> None:
    cells = resolve(axes=GRID, exclude=[{"magnitude": "none", "sparsity": [0.8]}])
    assert [tuple(cell.labels.values()) for cell in cells] == [("none", "0.4"), ("4", "0.4"), ("4", "0.8")]


def test_two_runs_of_the_same_content_are_refused(resolve: Any) -> None:
    with pytest.raises(UserError, match="the same content: 'a x' and 'a y'"):
        resolve(axes={"a": {"x": {"data.cutout": 4}, "y": {"data.cutout": 4, "data.root": "there"}}})


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ({"data.trainsize": 5}, "axis a, b: unknown key 'data.trainsize': did you mean data.train_size"),
        ({"model.network.dept": 8}, "unknown key 'model.network.dept': did you mean model.network.depth"),
        ({"epoch_scale": 5}, "unknown key 'epoch_scale': did you mean epochs_scale"),
        ({"stages[*].sparsty": 0.5}, "axis a, b.*unknown column 'sparsty': did you mean sparsity"),
        ({"stages[7].sparsity": 0.5}, r"axis a, b: stages\[7\].sparsity names no row: the table has 3"),
        ({"stages[x].sparsity": 0.5}, r"axis a, b: stages\[x\].sparsity names no rows"),
        ({"data.batch_size": "many"}, "axis a, b: .*many"),
        ({"config": "none.yaml"}, "axis a, b: there is no config .*none.yaml"),
        ({"model.init_args.network": {"run": "dense"}}, "axis a, b: unknown name under before 'dense'"),
    ],
)
def test_an_override_that_is_not_understood_is_named(override: dict[str, Any], said: str, resolve: Any) -> None:
    with pytest.raises(UserError, match=said):
        resolve(axes={"a": {"b": override}})


def start(checkpoint: str = "stage-1") -> dict[str, Any]:
    return {"init_from": {"path": {"run": "dense", "checkpoint": checkpoint}, "load": "masks"}}


def test_a_run_starts_from_that_of_its_own_seed(resolve: Any, tiny: Path) -> None:
    before = {"dense": {"configs": [str(tiny)], "axes": ["seed"]}}
    scheme = {"inheriting": {}, "mask": start() | {"stages[*].sparsity": 0.6}}
    cells = resolve(axes={"scheme": scheme} | SEEDS, before=before)
    by_title = {cell.title: cell for cell in cells}
    for seed in "01":
        masked, whole = by_title[f"scheme mask, seed {seed}"], by_title[f"scheme inheriting, seed {seed}"]
        assert masked.after == (whole.id,) == (by_title[f"dense: seed {seed}"].id,)
        path = masked.config["init_from"]["path"]
        assert path == str(
            RESULTS / "runs" / whole.id / "lightning_logs" / "version_0" / "checkpoints" / "stage-1.ckpt"
        )
    runs = share(cells)
    ids = [run.id for run in runs]
    assert len(set(ids)) == 4  # what is there under two names is trained once
    assert all(ids.index(need) < ids.index(run.id) for run in runs for need in run.after)


def test_a_start_from_a_shared_stage_is_the_file_of_its_training(resolve: Any, tiny: Path) -> None:
    magnitudes = {str(m): {"stages": [{"epochs": 1}, {"epochs": 1, "magnitude": m}]} for m in (4, 8)}
    before = {"dense": {"configs": [str(tiny)], "axes": {"m": magnitudes}}}
    for checkpoint, has_own in (("stage-1", False), ("stage-1-best", False), ("stage-2", True)):
        runs = share(resolve(axes={"m": {m: start(checkpoint) for m in magnitudes}}, before=before))
        shared = next(run for run in runs if run.part == "shared" and run.title.startswith("stage 1 of dense"))
        by_title = {run.title: run for run in runs}
        for m in magnitudes:
            trained = by_title[f"dense: m {m}"].id if has_own else shared.id
            path = by_title[f"m {m}"].config["init_from"]["path"]
            assert Path(path).relative_to(RESULTS / "runs").parts[0] == trained, (checkpoint, m)


def test_the_content_of_a_start_is_its_run_not_its_folder(resolve: Any, tiny: Path) -> None:
    before = {"dense": {"configs": [str(tiny)], "set": {"data.cutout": 2}}}
    axes = {"scheme": {"mask": start() | {"stages[*].sparsity": 0.6}}}
    first, second = (resolve(axes=axes, before=before, results=Path(name))[-1] for name in ("here", "there"))
    assert first.id == second.id
    assert first.config["init_from"] != second.config["init_from"]
    other = resolve(axes=axes, before={"dense": before["dense"] | {"set": {"data.cutout": 3}}})[-1]
    assert other.id != first.id


@pytest.mark.parametrize(
    ("before", "checkpoint", "said"),
    [
        (
            {"axes": {"size": {"data.train_size": [200]}}},
            "last",
            "has an axis size, the runs that start",
        ),
        ({"axes": {"seed": {"seed_everything": [0]}}}, "last", "unknown label of the axis seed '1'"),
        ({}, "stage-4", "unknown checkpoint 'stage-4'"),
        ({"set": start()}, "last", "starts from itself"),
    ],
)
def test_a_start_that_is_not_there_is_said(
    before: dict[str, Any], checkpoint: str, said: str, resolve: Any, tiny: Path
) -> None:
    axes = {"scheme": {"mask": start(checkpoint) | {"stages[*].sparsity": 0.6}}} | SEEDS
    with pytest.raises(UserError, match=said):
        resolve(axes=axes, before={"dense": {"configs": [str(tiny)]} | before})


def test_stages_that_runs_share_are_trained_once(resolve: Any) -> None:
    cells = resolve(axes=GRID | SEEDS)
    jobs = share(cells)
    shared = [job for job in jobs if job.part == SHARED]
    assert len(shared) == 4  # one for each M and seed
    assert len(jobs) == 4 + 8
    starts = {job.id: job for job in shared}
    for cell, job in zip(cells, (next(j for j in jobs if j.id == cell.id) for cell in cells), strict=True):
        assert job.start is not None
        first = starts[job.start]
        assert first.config["stages"] == cell.config["stages"][:1]
        assert first.config["seed_everything"] == cell.seed
        assert (job.start_rows, job.rows, job.epochs, first.epochs) == (1, 3, 4, 2)
    assert sum(job.epochs for job in jobs) == 4 * 2 + 8 * 4  # of 8 * 6
    assert [job.id for job in jobs if job.part != SHARED] == [cell.id for cell in cells]
    assert [job.part == SHARED for job in jobs] == [True, False, True, False, False, False] * 2


def test_a_run_that_is_the_beginning_of_another_is_what_the_other_goes_on_from(resolve: Any) -> None:
    table: list[dict[str, Any]] = [{"epochs": 2}, {"epochs": 1, "sparsity": 0.2}, {"epochs": 1, "sparsity": 0.4}]
    cells = resolve(axes={"rows": {str(k): {"stages": table[:k]} for k in (3, 1, 2)}})
    jobs = {job.id: job for job in share(cells)}
    three, one, two = (jobs[cell.id] for cell in cells)
    assert [job.start for job in (one, two, three)] == [None, one.id, two.id]
    assert len(jobs) == 3
    assert sum(job.epochs for job in jobs.values()) == 4


def test_runs_that_differ_in_more_than_the_table_share_nothing(resolve: Any) -> None:
    cells = resolve(axes={"size": {"data.train_size": [300, 400]}, "m": {"stages[1:].magnitude": [4, 5]}})
    jobs = share(cells)
    assert len(jobs) == 2 * 3
    sizes = {job.id: job.config["data"]["init_args"]["train_size"] for job in jobs}
    assert all(sizes[job.id] == sizes[job.start] for job in jobs if job.start)
