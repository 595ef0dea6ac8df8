"""Places where the runs of a study are trained, by the value of --runner."""

from dasc.study.execution.runners.local import LocalRunner
from dasc.study.execution.runners.ray import RayRunner
from dasc.study.execution.runners.runner import Runner
from dasc.study.execution.runners.slurm import SlurmRunner

RUNNERS: dict[str, type[Runner]] = {"local": LocalRunner, "ray": RayRunner, "slurm": SlurmRunner}
