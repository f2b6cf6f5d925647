"""The report of a comparison: the verdict, then the evidence, down to single rows and how to run it again."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stepladder.evaluation.statistics.estimates import mean_over_runs
from stepladder.evaluation.tables import Drawing, Table, TableCell
from stepladder.io import serialise
from stepladder.io.files import write_text
from stepladder.io.serialise import to_plain
from stepladder.reports import sections
from stepladder.reports.checklist import checklist
from stepladder.reports.markdown import lists, markdown
from stepladder.reports.page import (
    Block,
    Bullets,
    Code,
    Explorer,
    Fold,
    Grid,
    Picture,
    Prose,
    Section,
    blocks_of,
    render,
)
from stepladder.reports.plots import Whisker, against, forest
from stepladder.studies.evidence import Evidence, SuiteFindings
from stepladder.studies.examples import ExampleRows
from stepladder.studies.results import Comparison

LISTED = 10  # rows of a kind in report.md


def write(comparison: Comparison, evidence: Evidence) -> Comparison:
    """Write report.html, report.md and comparison.json. Returns the comparison with its checklist."""
    folder = Path(comparison.report).parent
    whole = replace(comparison, checklist=checklist(comparison, evidence.facts))
    write_text(folder / "report.html", page(whole, evidence))
    write_text(folder / "report.md", markdown(whole, appendix(evidence)))
    serialise.write(folder / "comparison.json", whole)
    return whole


def page(comparison: Comparison, evidence: Evidence) -> str:
    """The text of report.html."""
    data = None if evidence.rows is None else {"rows": to_plain(evidence.rows)}
    return render(comparison.title or comparison.study, list(_sections(comparison, evidence)), data)


def appendix(evidence: Evidence) -> list[tuple[str, Sequence[Drawing]]]:
    """The suites' metrics and tables and some fixed and regressed examples, under titles, for report.md."""
    found: list[tuple[str, Sequence[Drawing]]] = []
    found += [(f"Mistakes: {run}", tables) for run, tables in evidence.confusions.items()]
    for name, of_this in evidence.by_suite().items():
        if any(suite.metrics for suite in of_this):
            found.append((name, [_figures(name, of_this)]))
        found += [(f"{name}: {suite.run}", suite.tables) for suite in of_this if suite.tables]
    if evidence.rows is not None:
        found.append(("Fixed and regressed examples", [_changed(evidence.rows)]))
    return found


def _changed(rows: ExampleRows) -> Table:
    """The first rows that the run shown first fixes and regresses on, against the next simpler method."""
    ours = rows.first
    theirs = rows.below[ours]
    listed: list[list[TableCell]] = []
    counts = {}
    for change, sign in (("fixed", 1), ("regressed", -1)):
        marks = zip(rows.marks[ours], rows.marks[theirs], strict=True)
        changed = [at for at, (is_, was) in enumerate(marks) if sign * (is_ - was) > 0]
        counts[change] = len(changed)
        for at in changed[:LISTED]:
            columns = (rows.ids, rows.questions, rows.expected, rows.answers[theirs], rows.answers[ours])
            listed.append([*(rows.texts[column[at]] for column in columns), change])
    names = [rows.runs[theirs], rows.runs[ours]]
    note = (
        f"{counts['fixed']} fixed and {counts['regressed']} regressed; at most {LISTED} of each are listed. {rows.note}"
    )
    return Table(
        f"{names[1]} against {names[0]}", ["id", "question", "expected", *names, "change"], listed, note.strip()
    )


def _sections(comparison: Comparison, evidence: Evidence) -> Iterator[Section]:
    yield Section("verdict", "Verdict", list(_verdict(comparison)))
    more = [Grid(table) for made in (sections.shortlists, sections.steps) if (table := made(comparison)) is not None]
    yield Section("ladder", "The ladder", [_picture(comparison), Grid(sections.quality(comparison)), *more])
    yield Section("differences", "Paired differences", list(_differences(comparison)))
    if comparison.curve:
        yield Section("curve", "Learning curve", list(blocks_of(comparison.curve)))
    if evidence.confusions:
        yield Section("mistakes", "Mistakes", _folds(evidence.confusions, comparison))
    for name, suites in evidence.by_suite().items():
        anchor = re.sub(r"[\W_]", "-", name)
        yield Section(f"suite-{anchor}", _titled(name), _suite(name, suites, comparison))
    if tuning := sections.tuning(comparison):
        yield Section("tuning", "Tuning", [Grid(tuning)])
    yield Section("costs", "Costs and break-even", list(_costs(comparison)))
    if points := sections.checklist(comparison):
        yield Section("checklist", "Checklist", [Grid(points)])
    if evidence.rows is not None:
        yield Section("rows", "Fixed and regressed examples", [Explorer()])
    yield Section("made", "Provenance", list(_made(comparison, evidence)))
    yield Section("again", "Run it again", list(_again(comparison, evidence)))


def _verdict(comparison: Comparison) -> Iterator[Block]:
    verdict = comparison.verdict
    yield Prose(f"{sections.heading(verdict)}. {verdict.reason}", strong=True)
    for title, lines in lists(verdict):
        yield Bullets(lines, title)
    best = {each.against for each in comparison.tuned_differences if each.roles}
    paid = [each for each in comparison.break_even if each.against in best]
    if paid:
        lines = [f"{each.name} against {each.against}: {sections.requests(each)}" for each in paid]
        yield Bullets(lines, "Break-even, in requests")


def _picture(comparison: Comparison) -> Picture:
    verdict = comparison.verdict
    metric, bills = verdict.metric, comparison.bills
    many, words = sections.per(bills.unit)
    whiskers = []
    for cell in comparison.cells:
        score, cost = cell.scores[metric], bills.methods[cell.name].request * many
        whiskers.append(Whisker(cell.name, score.value, score.low, score.high, cost, cell.name == verdict.recommended))
    best = comparison.cell(verdict.best).scores[metric].value
    if verdict.target is not None:
        guides = {f"target {verdict.target:g}": verdict.target}
    else:
        guides = {f"{verdict.margin:g} below the best": best - verdict.margin}
    caption = f"{metric} of each method with its 95% interval, against the cost of {words} (logarithmic)."
    return Picture(against(whiskers, words, metric, guides), caption)


def _differences(comparison: Comparison) -> Iterator[Block]:
    verdict = comparison.verdict
    metric, recommended = verdict.metric, verdict.recommended
    role = "recommended" if recommended else "best"
    if len(comparison.cells) == 1:
        yield Prose("There is one method only, so there are no differences.")
        return
    whiskers = [
        Whisker(cell.name, found.value, found.low, found.high)
        for cell in comparison.cells
        if (gap := cell.to_recommended if recommended else cell.to_best) and (found := gap.difference.get(metric))
    ]
    other = recommended or verdict.best
    caption = f"{metric} of each method minus that of {other}, the {role} one, on the same questions; 95% intervals."
    short = other if len(other) <= 40 else f"the {role} method"
    yield Picture(forest(whiskers, f"{metric}, difference to {short}"), caption)
    for made in (sections.to_recommended, sections.tuned_differences, sections.differences):
        if (table := made(comparison)) is not None:
            yield Grid(table)


def _folds(by_run: Mapping[str, Sequence[Drawing]], comparison: Comparison) -> list[Block]:
    wanted = {comparison.verdict.recommended or comparison.verdict.best}
    first = next((run for run in by_run if run.split(", seed")[0] in wanted), next(iter(by_run)))
    return [Fold(run, list(blocks_of(found)), opened=run == first) for run, found in by_run.items() if found]


def _suite(name: str, suites: Sequence[SuiteFindings], comparison: Comparison) -> list[Block]:
    blocks: list[Block] = [Grid(_figures(name, suites))] if any(suite.metrics for suite in suites) else []
    tables = {suite.run: suite.tables for suite in suites if suite.tables}
    return blocks + (_folds(tables, comparison) if tables else [])


def _figures(name: str, suites: Sequence[SuiteFindings]) -> Table:
    """One row per method, the mean over its seeds."""
    metrics = list(dict.fromkeys(metric for suite in suites for metric in suite.metrics))
    of_method: defaultdict[str, list[SuiteFindings]] = defaultdict(list)
    for suite in suites:
        of_method[suite.method].append(suite)
    folded = {
        sections.titled(method, len(runs)): {
            metric: mean_over_runs(found)
            for metric in metrics
            if (found := [suite.metrics[metric] for suite in runs if metric in suite.metrics])
        }
        for method, runs in of_method.items()
    }
    note = "Square brackets hold 95% intervals."
    if len(suites) > len(of_method):
        note += (
            " Means over seeds; the variation between seeds (Student's t) is added to the mean interval of the runs."
        )
    if len(metrics) <= max(len(folded), 5):
        rows = [[method, *(sections.interval(found.get(m)) for m in metrics)] for method, found in folded.items()]
        return Table(_titled(name), ["method", *metrics], rows, note)
    turned = [[metric, *(sections.interval(found.get(metric)) for found in folded.values())] for metric in metrics]
    return Table(_titled(name), ["figure", *folded], turned, note)


def _costs(comparison: Comparison) -> Iterator[Block]:
    yield Grid(sections.costs(comparison))
    for made in (sections.bills(comparison), sections.break_even(comparison)):
        if made is not None:
            yield Grid(made)
    if not comparison.break_even and comparison.no_break_even:
        yield Prose("There is no break-even: every tuned method is significantly worse than the prompted ones.")


def _made(comparison: Comparison, evidence: Evidence) -> Iterator[Block]:
    yield Prose(f"Study {comparison.study}.")
    if counts := sections.row_counts(comparison):
        yield Prose(f"Rows of the data: {counts}.")
    if checks := sections.preflight(comparison):
        yield Grid(checks)
    unsure = {row.name: n for row in comparison.rows if (n := row.costs.labels_within_noise)}
    if unsure:
        counts = ", ".join(f"{name} {n}" for name, n in unsure.items())
        yield Prose(
            "Labels that are ahead of the next by less than the rounding of bf16, and may change with "
            f"compute.micro_batch: {counts}."
        )
    columns = ["method", "seed", "overrides", "fit key", "prediction key", "score key", "reused", "fitted", "commit"]
    keys: list[list[TableCell]] = []
    for row, origin in zip(comparison.rows, evidence.origins, strict=False):
        shown = [key[:16] for key in (row.keys.fit, row.keys.predict, row.keys.score)]
        reused = ", ".join(name for name, there in vars(row.reused).items() if there)
        keys.append([row.name, row.seed, " ".join(row.overrides), *shown, reused, *origin])
    if keys:
        note = "Keys are content hashes; directory names under outputs/ end with their first digits."
        yield Grid(Table("Runs", columns, keys, note))
    for title, text in evidence.texts.items():
        yield Fold(title, [Code(text)])
    made = evidence.provenance
    if made:
        parts = {name: part for name, part in made.get("data", {}).items() if isinstance(part, Mapping)}
        hashes = [[name, part["content"], part["rows"]] for name, part in parts.items()]
        hashes += [
            [f"{m} {file}", h, None] for m, files in made.get("weights", {}).items() for file, h in files.items()
        ]
        yield Fold("Data and weights", [Grid(Table("Content hashes", ["what", "hash", "rows"], hashes))])
        yield Fold("Machine and versions", list(_machine(made)))


def _machine(made: Mapping[str, Any]) -> Iterator[Block]:
    code, devices = made.get("code") or {}, made.get("devices") or {}
    changed = ", with uncommitted changes" if code.get("dirty") else ""
    facts = {"stepladder": made.get("stepladder"), "commit": f"{code.get('commit')}{changed}"}
    facts |= {name: made.get(name) for name in ("python", "platform")}
    facts |= {**{name: str(value) for name, value in devices.items()}, "time": made.get("time")}
    known = [[name, fact] for name, fact in facts.items() if fact not in (None, "None", "[]")]
    yield Grid(Table("Machine", ["what", "found"], known))
    versions = [[name, version] for name, version in made.get("distributions", {}).items()]
    yield Grid(Table("Packages", ["package", "version"], versions))


def _again(comparison: Comparison, evidence: Evidence) -> Iterator[Block]:
    if command := comparison.command:
        yield Prose(
            "The same command makes the same report; runs that are in the outputs directory already are reused."
        )
        yield Code(command)
    else:
        yield Prose("This comparison was started from Python, not from the command line.")
    code = evidence.provenance.get("code") or {}
    if code.get("commit"):
        yield Prose(f"Stepladder {evidence.provenance.get('stepladder')}, commit {code['commit']}.")


def _titled(name: str) -> str:
    return name.replace("_", " ").capitalize() if name != "rag" else "Retrieval"
