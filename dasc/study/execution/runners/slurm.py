"""Jobs of a SLURM cluster, which train the runs of a study."""

import argparse
import os
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

from dasc.errors import UserError, one_line
from dasc.study.execution.runners.runner import Runner, Work
from dasc.study.execution.work import carry_out_run
from dasc.study.folders import ERROR, run_folder
from dasc.study.plan import Run

MINUTES = 24 * 60
"""Default time limit of a job; a job that reaches it is queued again and resumes its run."""

_SECONDS = 1.0
"""Between two looks at the jobs."""


class SlurmRunner(Runner):
    """Carries out runs as jobs of SLURM, through submitit, whose files are in the study's sub-folder slurm/.

    All machines need dasc, and the study's folder and data under the same paths.

    Args:
        results: Folder of the study.
        threads: CPUs of each job, and its threads.
        gpus: GPUs of each job.
        jobs: Jobs in the queue at a time; None for any number.
        parameters: Parameters of sbatch, such as `partition`, by their names in submitit.
        cluster: submitit's name of the cluster: `slurm`, or `local` for processes of this machine.
    """

    options: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "--slurm": {
            "metavar": "NAME=VALUE",
            "action": "append",
            "help": f"slurm: a parameter of sbatch, such as partition=gpu; time is in minutes ({MINUTES})",
        }
    }

    def __init__(
        self,
        results: Path,
        threads: int = 1,
        gpus: int = 0,
        jobs: int | None = None,
        parameters: Mapping[str, int | str | bool] | None = None,
        cluster: str = "slurm",
    ) -> None:
        try:
            import submitit
        except ImportError:
            raise UserError("--runner slurm needs submitit: pip install 'dasc[slurm]'") from None
        settings: dict[str, Any] = {f"slurm_{name}": value for name, value in (parameters or {}).items()}
        settings |= {"name": "dasc", "timeout_min": MINUTES, "cpus_per_task": threads, "gpus_per_node": gpus or None}
        try:
            self._executor: Any = submitit.AutoExecutor(results / "slurm", cluster=cluster)
            self._executor.update_parameters(**settings)
        except RuntimeError:
            raise UserError(
                "--runner slurm must be used on a cluster, got a machine without SLURM's srun: log in to the cluster"
            ) from None
        except (NameError, TypeError) as error:
            raise UserError(f"--slurm must name parameters of sbatch: {str(error).splitlines()[0]}") from None
        self.slots = jobs
        self._results, self._threads = results, threads
        self._jobs: dict[Future[str | None], Any] = {}
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    @classmethod
    def check(cls, given: argparse.Namespace) -> None:
        """Check options."""
        if not all(text.partition("=")[2] for text in given.slurm or ()):
            raise UserError(f"--slurm must be NAME=VALUE, got {' '.join(given.slurm)}")
        if given.gpus and given.gpus != int(given.gpus):
            raise UserError(f"--gpus must be a whole number for --runner slurm, got {given.gpus:g}")

    @classmethod
    def make(cls, given: argparse.Namespace, work: Work) -> Self:
        """Make the runner from options."""
        return cls(work.results, work.threads, int(given.gpus or 0), given.jobs, _parameters(given))

    def submit(self, run: Run) -> "Future[str | None]":
        """Queue a job."""
        future: Future[str | None] = Future()
        run = replace(run, config={}, stages=())
        try:
            self._jobs[future] = self._executor.submit(_Task(), run, self._results, self._threads)
        except (RuntimeError, OSError) as error:  # the others go on if sbatch refuses one
            future.set_result(f"sbatch refused its job: {one_line(error)}")
        return future

    def stop(self) -> None:
        """Cancel the jobs."""
        self._stopped.set()
        for job in list(self._jobs.values()):
            job.cancel()

    def _watch(self) -> None:
        """Set the results of the jobs that end."""
        while not self._stopped.wait(_SECONDS):
            for future, job in list(self._jobs.items()):
                if job.done():
                    del self._jobs[future]
                    future.set_result(_error_of(job))


class _Task:
    """A run in a job. It resumes when SLURM ends the job for its time limit or for another job."""

    def __init__(self) -> None:
        self._is_queued_again = False

    def __call__(self, run: Run, results: Path, threads: int) -> str | None:
        os.environ.pop("SLURM_NTASKS", None)  # Lightning would expect a task of the job for each process
        error = carry_out_run(run, results, threads)
        if error is not None and self._is_queued_again:
            (run_folder(results, run.id) / ERROR).unlink(missing_ok=True)
            sys.exit(-1)  # as submitit's handler asked for; a returned error would be the result of the job
        return error

    def checkpoint(self, *args: Any) -> Any:
        """Return what submitit queues again."""
        from submitit.helpers import DelayedSubmission

        self._is_queued_again = True
        return DelayedSubmission(_Task(), *args)


def _parameters(given: argparse.Namespace) -> dict[str, int | str | bool]:
    texts = dict(text.partition("=")[::2] for text in given.slurm or ())
    return {name: int(text) if text.isdecimal() else text == "true" or text for name, text in texts.items()}


def _error_of(job: Any) -> str | None:
    try:
        error: str | None = job.result()
        return error
    except Exception:  # submitit's errors have whole logs as their text
        return f"its job {job.job_id} ended without a result: see {job.paths.stderr}"
