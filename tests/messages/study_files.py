"""Mistakes in study files, and in the options of `dasc study`."""

from pathlib import Path

from tests.messages.case import Case

STUDY = """\
name: x
configs: [base.yaml]
axes: {{seed: {{seed_everything: 0..1}}, m: {{"stages[*].magnitude": [4, 14]}}}}
{}
"""
BASE = """\
stages: [{epochs: 1}]
model: {class_path: Classifier, init_args: {network: {class_path: CifarResNet, init_args: {depth: 8}}}}
data: {class_path: ImageData, init_args: {dataset: digits}}
"""


def case(content: str, *says: str, words: str = "study plan given.yaml") -> Case:
    """Return the case of a study file, with a config and a study file that extends it in its folder."""

    def write(folder: Path) -> None:
        (folder / "base.yaml").write_text(BASE)
        (folder / "other.yaml").write_text("extends: given.yaml\nname: y\n")
        (folder / "given.yaml").write_text(content)

    return Case(words, (f"dasc {' '.join(words.split()[:2])}: ", *says), prepare=write)


def options(words: str, *says: str) -> Case:
    """Return the case of wrong options of `dasc study run`, with a study file that is right."""
    return case(STUDY.format(""), *says, words=f"study run given.yaml {words}")


CASES = {
    "a missing file is extended": case(
        "extends: nope.yaml\nname: y\n", "given.yaml: extends must be a study file, got nope.yaml, which does not exist"
    ),
    "a study extends itself": case(
        "extends: given.yaml\nname: y\n", "given.yaml: extends must be another study file, got given.yaml"
    ),
    "two studies extend each other": case(
        "extends: other.yaml\nname: y\n", "other.yaml: extends must be another study file, got given.yaml"
    ),
    "extends is a list": case("extends: [a.yaml]\nname: y\n", "given.yaml: extends must be the path of one study file"),
    "a figure of an unknown axis": case(
        STUDY.format("figure: {kind: sparsity, lines: mm}\n"),
        "given.yaml: figure.lines: unknown axis 'mm': did you mean m?",
    ),
    "a figure of a list": case(
        STUDY.format("figure: {kind: sparsity, lines: [m]}\n"), "given.yaml: figure.lines must be text, got ['m']"
    ),
    "an unknown key": case(STUDY.format("figures: {kind: sparsity}\n"), "unknown key 'figures': did you mean figure"),
    "an unknown key of a figure": case(
        STUDY.format("figure: {kind: bars, bar: m}\n"), "unknown key of a figure 'bar': did you mean bars?"
    ),
    "an unknown option on an axis": case(
        "name: x\nconfigs: [base.yaml]\naxes: {b: {data.batchsize: [1, 2]}}\n",
        "axis b, 1: ",
        "did you mean data.batch_size",
    ),
    "a wrong value on an axis": case(
        "name: x\nconfigs: [base.yaml]\naxes: {b: {data.batch_size: [c]}}\n",
        "data.batch_size must be an integer, got 'c'",
    ),
    "a tab": case("name: x\n\tconfigs: [base.yaml]\n", "given.yaml, line 2: ", "got a tab"),
    "an empty file": case("", "given.yaml is empty"),
    "a config": case("", "base.yaml is a config", "dasc fit --config base.yaml", words="study plan base.yaml"),
    "a base config that is a study": case(
        "name: x\nconfigs: [other.yaml]\naxes: {m: {seed_everything: [1]}}\n",
        "other.yaml is a study file, not a config",
    ),
    "lines of macs without the other axis": case(
        "name: x\nconfigs: [base.yaml]\naxes: {c: {data.batch_size: [8, 16]}, m: {data.eval_batch_size: [4, 14]}}\n"
        "figure: {kind: macs, lines: m}\n",
        "the figure does not show the axis c: name it by a key of the figure (panels, sizes)",
    ),
    "sizes of another figure": case(
        STUDY.format("figure: {kind: bars, bars: m, sizes: m}\n"), "a figure of kind bars has no sizes: it takes bars"
    ),
    "no threads": options("--cpus 0", "--cpus must be a whole number >= 1, got 0"),
    "GPUs of local trainings": options("--gpus 1", "--gpus must be used with a cluster, got --runner local"),
    "an option of another runner": options(
        "--slurm partition=gpu", "--slurm must be used with --runner slurm, got --runner local"
    ),
    "half a GPU in SLURM": options(
        "--runner slurm --gpus 0.5", "--gpus must be a whole number for --runner slurm, got 0.5"
    ),
    "a parameter of sbatch without value": options(
        "--runner slurm --slurm partition", "--slurm must be NAME=VALUE, got partition"
    ),
    "an unknown runner": options("--runner pbs", "--runner must be one of local, ray, slurm, got 'pbs'"),
}
