"""The completion of commands, options and choices, as bash computes it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from dasc.cli.completion import script
from dasc.networks import __all__ as networks
from tests.support.command import dasc

QUESTIONS = {
    "dasc fi": ("fit",),
    "dasc st": ("study",),
    "dasc fit --data.b": ("--data.batch_size",),
    "dasc plan --model.network.de": ("--model.network.depth",),
    "dasc fit --model Pr": ("PrunedClassifier",),
    "dasc fit --model.network Cifar": tuple(sorted(name for name in networks if name.startswith("Cifar"))),
    "dasc fit --model.optimizer Adam": ("Adam", "Adamax", "AdamW"),
    "dasc fit --model.scope ": ("layer", "global"),
    "dasc fit --model.scope = g": ("global",),  # bash splits --model.scope=g into three words
    "dasc test --data.dataset cifar1": ("cifar10", "cifar100"),
    "dasc test --data.dataset f": ("fashion_mnist", "folder"),
    "dasc fit --trainer.callbacks Early": ("EarlyStopping",),
    "dasc fit --trainer.callbacks.help Early": ("EarlyStopping",),
    "dasc predict --ckpt_path b": ("best",),
    "dasc export --data": ("--data.root",),
    "dasc export --format sa": ("safetensors",),
    "dasc compare --ov": ("--overwrite",),
    "dasc compare x.ckpt --split t": ("test",),
    "dasc study re": ("report",),
    "dasc study run x.yaml --run": ("--runner",),
    "dasc completion z": ("zsh",),
    "dasc fit --config ": (),
    "dasc fit --model.stages": (),
}
"""Words on a command line, the last of which is completed; none is left to bash, which completes files."""


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "dasc.bash"
    done = dasc("completion", "bash")
    assert done.returncode == 0, done.stderr
    path.write_text(done.stdout)
    return path


def test_bash_completes_commands_options_classes_and_choices(bash_script: Path) -> None:
    lines = ["set -u", f"source {bash_script}"]
    for question in QUESTIONS:
        words = question.split(" ")
        quoted = " ".join(f"'{word}'" for word in words)
        lines += [f"COMP_WORDS=({quoted})", f"COMP_CWORD={len(words) - 1}", "_dasc", 'echo "${COMPREPLY[*]-}"']
    done = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    answers = [tuple(line.split()) for line in done.stdout.split("\n")[:-1]]
    assert dict(zip(QUESTIONS, answers, strict=True)) == QUESTIONS
    assert done.stderr == ""


def test_files_are_completed_where_there_are_no_choices(bash_script: Path) -> None:
    done = subprocess.run(["bash", "-c", f"source {bash_script}; complete -p dasc"], capture_output=True, text=True)
    assert done.stdout == "complete -o bashdefault -o default -F _dasc dasc\n"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_script_is_valid_in_its_shell(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = tmp_path / "script"
    path.write_text(script(shell))
    subprocess.run([shell, "-n", path], check=True)


def test_zsh_uses_the_same_function_through_its_own_loader() -> None:
    lines = script("zsh").splitlines()
    assert lines[1:3] == ["autoload -U +X compinit && compinit", "autoload -U +X bashcompinit && bashcompinit"]
    assert lines[3:] == script("bash").splitlines()[1:]
