"""The report of a study: results.csv, tables, figures, and one page with all of it."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader

from dasc.callbacks.files import write_text
from dasc.errors import UserError
from dasc.study.analysis.figures.figure import Drawn
from dasc.study.analysis.results import Axes, final_rows, write_results
from dasc.study.analysis.table import Table, plain
from dasc.study.analysis.tables import combinations, others
from dasc.study.execution.work import TIMES
from dasc.study.folders import read_error, read_result
from dasc.study.plan import SHARED, Plan
from dasc.study.specification.file import StudyFile

_FILES = ["results.csv", "times.csv", "report.md", "report.html"]


def write_report(file: StudyFile, plan: Plan, results: Path) -> tuple[list[Table], list[str]]:
    """Write results.csv, times.csv, report.md, report.html and the figures of finished runs.

    Returns:
        The tables, and messages for the user.
    """
    rows = write_results(plan, results)
    messages = [] if len(rows) else ["no run is finished: there is nothing to draw"]
    drawn = _draw_figures(file, rows, results, messages) if len(rows) else []
    tables = make_tables(file, rows, plan.axes) if len(rows) else []
    failed = Table(["run", "error"], failures(plan, results), left={0, 1})
    facts = _facts(plan, results, rows)
    page = render_page(file.title, drawn, tables, facts, failed, plan.command)
    write_text(results / "report.html", page)
    write_text(results / "report.md", _markdown(file.title, drawn, tables, facts, failed, plan.command))
    names = [path.name for figure in drawn for path in (figure.svg, figure.png)]
    return tables, [*messages, f"written: {', '.join(_FILES + names)} in {results}"]


def make_tables(file: StudyFile, rows: pd.DataFrame, axes: Axes) -> list[Table]:
    """Return the tables of the figures, or of all combinations if there are none, and of the runs before."""
    found: list[Table] = []
    for figure in file.figures:
        found += [table for table in figure.tables(rows, axes, file.baseline) if table not in found]
    metric = file.figures[0].metric if file.figures else "test_accuracy"
    if not file.figures:
        found = [combinations(final_rows(rows), axes, file.baseline, metric)]
    return [*found, *others(rows, axes, metric)]


def failures(plan: Plan, results: Path) -> list[tuple[str, str]]:
    """Return the title and the error of each run that failed, and of each that starts from one."""
    failed: dict[str, tuple[str, str]] = {}
    for run in plan.trainings.values():
        error = None if read_result(results, run.id) else read_error(results, run.id)
        if error is not None:
            failed[run.id] = (run.title, error)
        elif before := [failed[name][0] for name in run.after if name in failed]:
            failed[run.id] = (run.title, f"not begun: it starts from {before[0]}")
    return list(failed.values())


def render_page(
    title: str, figures: Sequence[Drawn], tables: Sequence[Table], facts: Mapping[str, str], failed: Table, command: str
) -> str:
    """Return a study as one HTML page that refers to nothing outside itself; figures become part of it."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    shown = [{**figure._asdict(), "base64": b64encode(figure.svg.read_bytes()).decode()} for figure in figures]
    return environment.get_template("report.html.j2").render(
        title=title, figures=shown, tables=tables, facts=facts, failures=failed, command=command
    )


def _draw_figures(file: StudyFile, rows: pd.DataFrame, results: Path, messages: list[str]) -> list[Drawn]:
    drawn = []
    for number, figure in enumerate(file.figures, start=1):
        name = "figure" if len(file.figures) == 1 else f"figure-{number}"
        try:
            drawn.append(figure.draw(rows, results / name))
        except UserError as error:  # the tables are complete without it
            messages.append(f"{name} is not drawn: {error}")
    return drawn


def _facts(plan: Plan, results: Path, rows: pd.DataFrame) -> dict[str, str]:
    """Return what the numbers are of, and what they were measured on."""
    found = [read_result(results, name) for name in plan.trainings]
    done = pd.DataFrame([result["timing"] for result in found if result is not None], columns=list(TIMES))
    labelled = {run.id for run in plan.runs if run.part != SHARED}
    facts = {
        "runs": f"{rows['run'].nunique()} of {len(labelled)} finished",
        "trainings": f"{len(done)} of {len(found)} finished (stages that runs share are trained once)",
        "seeds": ", ".join(map(str, sorted(set(rows["seed"])))),
    }
    for name in ("device", "threads", "processes", "precision", "dasc", "torch", "lightning"):
        facts[name] = ", ".join(done[name].unique())
    return facts | {"training": f"{done['seconds'].sum() / 60:.1f} minutes in all, one training after the other"}


def _markdown(
    title: str, figures: Sequence[Drawn], tables: Sequence[Table], facts: Mapping[str, str], failed: Table, command: str
) -> str:
    parts = [f"# {plain(title)}"]
    parts += [f"- {plain(name)} failed: {plain(error)}" for name, error in failed.rows]
    parts += [f"![{plain(title)}]({figure.svg.name})" for figure in figures]
    parts += [table.markdown().rstrip() for table in tables]
    parts += ["\n".join(f"- {name}: {value}" for name, value in facts.items())]
    return "\n\n".join([*parts, f"```bash\n{command}\n```"]) + "\n"
