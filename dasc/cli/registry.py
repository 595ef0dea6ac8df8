"""Table of the commands of `dasc`; the module of a command is imported when it is used."""

from collections.abc import Callable, Sequence
from pkgutil import resolve_name
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """A command of `dasc`."""

    target: str
    """`MODULE:OBJECT`; the object is called with the words after the command, and returns an object for Python."""

    summary: str
    """One sentence for `dasc --help`."""

    on_config: str = ""
    """`MODULE:OBJECT` of the `Command` on a training's config, where `target` has another form of it, too."""

    def load(self) -> Callable[[Sequence[str]], Any]:
        """Import the command."""
        command: Callable[[Sequence[str]], Any] = resolve_name(self.target)
        return command

    def load_on_config(self) -> Callable[[Sequence[str]], Any]:
        """Import the form of the command that takes a training's config, or the command if it has one form."""
        command: Callable[[Sequence[str]], Any] = resolve_name(self.on_config or self.target)
        return command


COMMANDS = {
    "fit": Entry("dasc.cli.fit:COMMAND", "Train and prune through the table of stages."),
    "validate": Entry("dasc.cli.score:VALIDATE", "Score a checkpoint on the validation images."),
    "test": Entry("dasc.cli.score:TEST", "Score a checkpoint on the test images."),
    "predict": Entry(
        "dasc.cli.predict:run", "Predict image files, or the test images of a config.", "dasc.cli.score:PREDICT"
    ),
    "plan": Entry("dasc.cli.plan:COMMAND", "Print what fit would do, without training."),
    "teacher-report": Entry("dasc.cli.teacher_report:COMMAND", "Compare teachers on the test images."),
    "export": Entry("dasc.cli.export:run", "Write a checkpoint as ONNX, int8, sparse or other files."),
    "compare": Entry("dasc.cli.compare:run", "Compare checkpoints and exported files on the same images."),
    "study": Entry("dasc.cli.study:run", "Many runs from one file, their table and their figures."),
    "configs": Entry("dasc.cli.configs:run", "Copy the configs that come with dasc into a folder."),
    "completion": Entry("dasc.cli.completion:run", "Print a script that completes dasc in bash or zsh."),
}
"""The commands by name, in the order of `dasc --help`."""
