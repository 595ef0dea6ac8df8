"""The report of a study: results.csv, tables, figures, and one page with all of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dasc.callbacks.files import write_text
from dasc.errors import UserError
from dasc.study.figures import draw
from dasc.study.file import StudyFile
from dasc.study.folders import ERROR, RESULT, is_finished, read_json, run_folder
from dasc.study.page import page
from dasc.study.results import Row, write_results
from dasc.study.tables import Table, tables


def write_report(file: StudyFile, plan: Mapping[str, Any], results: Path) -> list[str]:
    """Write results.csv, times.csv, report.md, report.html and the figures of what is finished.

    Args:
        file: The study file: its figures and its baseline.
        plan: The runs, as `dasc study run` wrote them.
        results: The study's folder.

    Returns:
        What to tell the user, a line each.
    """
    rows = write_results(plan, results)
    failed = failures(plan, results)
    said = [] if rows else ["no run is finished: there is nothing to draw"]
    drawn = _draw_figures(file, rows, plan, results, said) if rows else []
    shown = _tables(file, rows, plan) if rows else []
    facts = _facts(plan, results, rows)
    commands = [plan["command"]]
    svgs = [path for path in drawn if path.suffix == ".svg"]
    write_text(results / "report.html", page(file.title, svgs, shown, facts, failed, commands))
    write_text(results / "report.md", _markdown(file.title, svgs, shown, facts, failed, commands))
    return [*said, f"written: {', '.join(_NAMES + [path.name for path in drawn])} in {results}"]


_NAMES = ["results.csv", "times.csv", "report.md", "report.html"]


def failures(plan: Mapping[str, Any], results: Path) -> list[tuple[str, str]]:
    """Return the title and the error of each job that failed, and of each that waits for one."""
    failed: dict[str, tuple[str, str]] = {}
    for job in plan["jobs"]:
        folder = run_folder(results, job["id"])
        if is_finished(results, job["id"]):
            continue
        if (folder / ERROR).is_file():
            failed[job["id"]] = (job["title"], (folder / ERROR).read_text().strip())
        elif before := [failed[name][0] for name in job["after"] if name in failed]:
            failed[job["id"]] = (job["title"], f"not begun: it starts from {before[0]}")
    return list(failed.values())


def _draw_figures(
    file: StudyFile, rows: Sequence[Row], plan: Mapping[str, Any], results: Path, said: list[str]
) -> list[Path]:
    drawn: list[Path] = []
    for number, spec in enumerate(file.figures, start=1):
        name = "figure" if len(file.figures) == 1 else f"figure-{number}"
        try:
            drawn += draw(spec, rows, plan["axes"], results / name)
        except UserError as error:  # the tables are there without it
            said.append(f"{name} is not drawn: {error}")
    return drawn


def _tables(file: StudyFile, rows: Sequence[Row], plan: Mapping[str, Any]) -> list[Table]:
    found: list[Table] = []
    for spec in file.figures or (None,):
        metric = "test_accuracy" if spec is None else spec.metric
        found += [table for table in tables(spec, rows, plan["axes"], file.baseline, metric) if table not in found]
    return found


def _facts(plan: Mapping[str, Any], results: Path, rows: Sequence[Row]) -> dict[str, str]:
    """Return what the numbers are of, and what they were measured on."""
    timings = [read_json(run_folder(results, job["id"]) / RESULT) for job in plan["jobs"]]
    done = [result["timing"] for result in timings if result is not None]
    runs = {run["id"] for run in plan["runs"]}
    facts = {
        "runs": f"{len({row['run'] for row in rows})} of {len(runs)} finished",
        "trainings": f"{len(done)} of {len(timings)} finished (stages that runs share are trained once)",
        "seeds": ", ".join(map(str, sorted({row["seed"] for row in rows}))),
    }
    for name, key in (("device", "device"), ("threads", "threads"), ("processes", "processes"), *_VERSIONS):
        facts[name] = ", ".join(dict.fromkeys(timing[key] for timing in done))
    minutes = sum(timing["seconds"] for timing in done) / 60
    return facts | {"training": f"{minutes:.1f} minutes in all, one training after the other"}


_VERSIONS = (("precision", "precision"), ("dasc", "dasc"), ("torch", "torch"), ("Lightning", "lightning"))


def _markdown(
    title: str,
    figures: Sequence[Path],
    shown: Sequence[Table],
    facts: Mapping[str, str],
    failed: Sequence[tuple[str, str]],
    commands: Sequence[str],
) -> str:
    parts = [f"# {title}"]
    parts += [f"- {name} failed: {error}" for name, error in failed]
    parts += [f"![{title}]({path.name})" for path in figures]
    parts += [table.markdown().rstrip() for table in shown]
    parts += ["\n".join(f"- {name}: {value}" for name, value in facts.items())]
    parts += ["```bash\n" + "\n".join(commands) + "\n```"]
    return "\n\n".join(parts) + "\n"
