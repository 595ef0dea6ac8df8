from pathlib import Path
from typing import Any

import pytest
import yaml

from dasc.errors import UserError
from dasc.study.specification.file import read_study


def study(**more: Any) -> dict[str, Any]:
    return {"name": "x", "configs": ["base.yaml"], "axes": {"seed": {"seed_everything": "0..1"}}} | more


def write(root: Path, given: Any, name: str = "study.yaml") -> Path:
    root.mkdir(exist_ok=True)
    (root / "base.yaml").write_text("stages: [{epochs: 1}]\n")
    (root / name).write_text(given if isinstance(given, str) else yaml.safe_dump(given, sort_keys=False))
    return root / name


def test_files_are_looked_for_beside_the_study(tmp_path: Path) -> None:
    axis = {"network": {"small": {"config": "small.yaml"}, "large": {"config": ["a.yaml", "b.yaml"]}}}
    read = read_study(write(tmp_path / "studies", study(axes=axis, set={"config": "../data.yaml"})))
    assert read.grid.configs == (str(tmp_path / "studies" / "base.yaml"),)
    assert read.grid.axes["network"]["small"]["config"] == str(tmp_path / "studies" / "small.yaml")
    assert read.grid.axes["network"]["large"]["config"] == [str(tmp_path / "studies" / f"{n}.yaml") for n in "ab"]
    assert Path(read.grid.set["config"]).resolve() == tmp_path / "data.yaml"


def test_a_study_extends_another_axis_by_axis(tmp_path: Path) -> None:
    write(tmp_path, study(axes={"a": {"x": [1, 2]}, "seed": {"seed_everything": "0..4"}}, title="long"), "long.yaml")
    (tmp_path / "smoke").mkdir()
    short = tmp_path / "smoke" / "short.yaml"
    short.write_text("extends: ../long.yaml\nname: short\naxes: {seed: {seed_everything: 0..1}}\n")
    read = read_study(short)
    assert (read.name, read.title) == ("short", "long")
    assert {axis: list(labels) for axis, labels in read.grid.axes.items()} == {"a": ["1", "2"], "seed": ["0", "1"]}
    assert Path(read.grid.configs[0]).resolve() == tmp_path / "base.yaml"


def test_runs_before_may_take_axes_of_the_study(tmp_path: Path) -> None:
    read = read_study(write(tmp_path, study(before={"teacher": {"configs": "base.yaml", "axes": ["seed"]}})))
    assert read.before["teacher"].axes == read.grid.axes
    assert read.grid.seed_axis == "seed"


def test_labels_are_text_wherever_they_stand(tmp_path: Path) -> None:
    axes = {"m": {"stages[*].magnitude": [4, 14]}, "s": {"stages[*].sparsity": [0.0, 0.5]}}
    read = read_study(write(tmp_path, study(axes=axes, baseline={"m": 4}, exclude=[{"m": 14, "s": [0.5]}])))
    assert (read.baseline, read.exclude) == ({"m": "4"}, ({"m": ("14",), "s": ("0.5",)},))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("name: [", "is not YAML"),
        ("- a\n", "must be a mapping with the keys name, configs and axes, got a list"),
        (study(axis={}), "unknown key 'axis': did you mean axes"),
        (study(name="a b"), "it becomes a folder's name"),
        (study(name=None), "name is missing"),
        (study(axes={}), "axes is missing"),
        (study(configs=["bose.yaml"]), "there is no base config .*bose.yaml"),
        (study(baseline={"sead": 0}), "baseline: unknown axis 'sead': did you mean seed"),
        (study(baseline={"seed": 7}), "baseline: unknown label of the axis seed '7'"),
        (study(exclude=[{"seed": [0, 9]}]), "exclude: unknown label of the axis seed '9'"),
        (study(before={"teacher": {"axes": {}}}), "before.teacher has no configs"),
        (study(before={"teacher": {"configs": "base.yaml", "sets": {}}}), "unknown key 'sets': did you mean set"),
        (study(before={"teacher": {"configs": "base.yaml", "axes": ["sed"]}}), "unknown axis 'sed': did you mean seed"),
        (study(figure={"kind": "bar"}), "unknown kind of figure 'bar': did you mean bars"),
        (study(figure={"kind": "bars"}), "needs bars: name the axis"),
        (study(figure={"kind": "bars", "lines": "a"}), "of kind bars has no lines"),
        (study(figure={"kind": "bars", "bars": "a", "metric": "accuracy"}), "unknown metric 'accuracy'"),
        (study(figure="bars"), "a figure is written"),
        (study(set=[1]), "set: overrides are written"),
        (study(before=["a"]), "before must be a mapping"),
        (study(exclude=3), "exclude must be a list of {AXIS: LABEL}, got 3"),
        (study(baseline={"seed": []}), "baseline.seed must name a label of the axis"),
        (study(title=[1]), r"title must be text, got \[1\]"),
        (study(figure={"kind": ["bars"]}), "figure.kind must be text"),
        (study(figure={"kind": "bars", "bars": "seeds"}), "figure.bars: unknown axis 'seeds': known are none"),
        (study(configs=["study.yaml"]), "study.yaml is a study file, not a config"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_sentence(given: Any, said: str, tmp_path: Path) -> None:
    path = write(tmp_path, given)
    with pytest.raises(UserError, match=said) as error:
        read_study(path)
    assert str(error.value).startswith(str(path))


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such study file"):
        read_study(tmp_path / "none.yaml")
