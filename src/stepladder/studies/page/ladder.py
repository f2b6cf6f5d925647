"""The page of a comparison: the verdict first, then what it stands on, down to the rows and how to run it again.

Knows the object of `stepladder compare` and the evidence beside it; computes no statistics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepladder.evaluation import sections
from stepladder.evaluation.exhibits import Cell, Table
from stepladder.studies.page.page import (
    Block,
    Bullets,
    Code,
    Explorer,
    Fold,
    Grid,
    Picture,
    Prose,
    Section,
    exhibited,
    render,
)
from stepladder.studies.page.plots import Whisker, against, forest

LISTED = 10  # rows of a kind in report.md


@dataclass(frozen=True)
class Suite:
    """What a suite found of one run: `metrics` with intervals, `exhibits` as scores.json has them."""

    run: str
    name: str
    metrics: Mapping[str, Mapping[str, Any]]
    exhibits: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Evidence:
    """What stands beside the object of a comparison: `rows` for the script (None: none), suites beside the main one,
    confusions by run, and how all was made: texts by a title, the provenance of the last run, and of every run in turn
    when its fit was made and by which commit."""

    rows: Mapping[str, Any] | None = None
    suites: Sequence[Suite] = ()
    confusions: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    origins: Sequence[tuple[str, str]] = ()


def page(comparison: Mapping[str, Any], evidence: Evidence) -> str:
    """The text of report.html."""
    data = None if evidence.rows is None else {"rows": evidence.rows}
    return render(str(comparison["study"]), list(_sections(comparison, evidence)), data)


def appendix(evidence: Evidence) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """The suites' figures and exhibits and some rows fixed and broken, under titles, for report.md."""
    found: list[tuple[str, list[Mapping[str, Any]]]] = []
    found += [(f"Mistakes: {run}", list(tables)) for run, tables in evidence.confusions.items()]
    for name in dict.fromkeys(suite.name for suite in evidence.suites):
        of_this = [suite for suite in evidence.suites if suite.name == name]
        if any(suite.metrics for suite in of_this):
            found.append((name, [_figures(name, of_this).as_dict()]))
        found += [(f"{name}: {suite.run}", list(suite.exhibits)) for suite in of_this if suite.exhibits]
    if evidence.rows is not None:
        found.append(("Rows fixed and broken", [_changed(evidence.rows).as_dict()]))
    return found


def _changed(rows: Mapping[str, Any]) -> Table:
    """The first rows that the run shown first fixed and broke against the rung below."""
    ours = rows["first"]
    theirs = rows["below"][ours]
    listed: list[list[Cell]] = []
    counts = {}
    for change, sign in (("fixed", 1), ("broken", -1)):
        marks = zip(rows["marks"][ours], rows["marks"][theirs], strict=True)
        changed = [at for at, (is_, was) in enumerate(marks) if sign * (is_ - was) > 0]
        counts[change] = len(changed)
        for at in changed[:LISTED]:
            cells = [rows[name][at] for name in ("ids", "questions", "expected")]
            cells += [rows["answers"][theirs][at], rows["answers"][ours][at]]
            listed.append([*(rows["texts"][cell] for cell in cells), change])
    names = [rows["runs"][theirs], rows["runs"][ours]]
    note = f"{counts['fixed']} fixed and {counts['broken']} broken; at most {LISTED} of each are listed. {rows['told']}"
    return Table(
        f"{names[1]} against {names[0]}", ["row", "question", "expected", *names, "change"], listed, note.strip()
    )


def _sections(comparison: Mapping[str, Any], evidence: Evidence) -> Iterator[Section]:
    yield Section("verdict", "Verdict", list(_verdict(comparison)))
    yield Section("ladder", "The ladder", [_picture(comparison), Grid(sections.quality(comparison))])
    yield Section("differences", "Paired differences", list(_differences(comparison)))
    if comparison.get("curve"):
        yield Section("curve", "Learning curve", list(exhibited(comparison["curve"])))
    if evidence.confusions:
        yield Section("mistakes", "Mistakes", _folds(evidence.confusions, comparison))
    for name in dict.fromkeys(suite.name for suite in evidence.suites):
        yield Section(f"suite-{_slug(name)}", _titled(name), _suite(name, evidence, comparison))
    if tuning := sections.tuning(comparison):
        yield Section("tuning", "Tuning", [Grid(tuning)])
    yield Section("costs", "Costs and break-even", list(_costs(comparison)))
    if points := sections.checklist(comparison):
        yield Section("checklist", "Checklist", [Grid(points)])
    if evidence.rows is not None:
        yield Section("rows", "Rows fixed and broken", [Explorer()])
    yield Section("made", "How it was made", list(_made(comparison, evidence)))
    yield Section("again", "Run it again", list(_again(comparison, evidence)))


def _verdict(comparison: Mapping[str, Any]) -> Iterator[Block]:
    verdict = comparison["verdict"]
    yield Prose(f"Recommended: {verdict['recommended'] or 'none'}. {verdict['reason']}", strong=True)
    if verdict.get("rests_on"):
        yield Bullets(verdict["rests_on"], "It rests on:")
    if verdict.get("would_change"):
        yield Bullets(verdict["would_change"], "It would change with:")
    paid = [each for each in comparison.get("break_even") or () if each["against"] == _best_prompted(comparison)]
    if paid:
        said = [f"{each['name']} against {each['against']}: {sections.requests(each)}" for each in paid]
        yield Bullets(said, "Requests after which a tuned rung has paid for itself, against the best prompted one:")


def _best_prompted(comparison: Mapping[str, Any]) -> str:
    metric = comparison["verdict"]["metric"]
    prompted = {each["against"] for each in comparison["break_even"]}
    cells = [cell for cell in comparison["cells"] if cell["name"] in prompted]
    return str(max(cells, key=lambda cell: cell["scores"][metric]["value"])["name"])


def _picture(comparison: Mapping[str, Any]) -> Picture:
    verdict = comparison["verdict"]
    metric, bills = verdict["metric"], comparison["bills"]
    many, words = sections.per(bills["unit"])
    whiskers = [
        Whisker(
            cell["name"],
            cell["scores"][metric]["value"],
            cell["scores"][metric]["low"],
            cell["scores"][metric]["high"],
            bills["rungs"][cell["name"]]["request"] * many,
            cell["name"] == verdict["recommended"],
        )
        for cell in comparison["cells"]
    ]
    best = next(cell for cell in comparison["cells"] if cell["name"] == verdict["best"])["scores"][metric]["value"]
    if verdict["target"] is not None:
        guides = {f"target {verdict['target']:g}": verdict["target"]}
    else:
        guides = {f"{verdict['margin']:g} below the best": best - verdict["margin"]}
    told = f"Each rung's {metric} with its 95 % interval, over the price of {words} (logarithmic)."
    return Picture(against(whiskers, words, metric, guides), told)


def _differences(comparison: Mapping[str, Any]) -> Iterator[Block]:
    metric, whiskers = comparison["verdict"]["metric"], []
    for cell in comparison["cells"]:
        if found := cell.get("difference", {}).get(metric):
            best = cell["name"] == comparison["verdict"]["recommended"]
            whiskers.append(Whisker(cell["name"], found["value"], found["low"], found["high"], best=best))
    if whiskers:
        baseline = comparison["baseline"]
        told = f"{metric} of each rung minus that of {baseline} on the same questions, with 95 % intervals."
        yield Picture(forest(whiskers, f"{metric}, difference to {baseline}"), told)
        yield Grid(sections.differences(comparison))
    else:
        yield Prose("There is one rung alone: nothing to differ from.")


def _folds(by_run: Mapping[str, Sequence[Mapping[str, Any]]], comparison: Mapping[str, Any]) -> list[Block]:
    wanted = {comparison["verdict"]["recommended"] or comparison["verdict"]["best"]}
    first = next((run for run in by_run if run.split(", seed")[0] in wanted), next(iter(by_run)))
    return [Fold(run, list(exhibited(found)), opened=run == first) for run, found in by_run.items() if found]


def _suite(name: str, evidence: Evidence, comparison: Mapping[str, Any]) -> list[Block]:
    of_this = [suite for suite in evidence.suites if suite.name == name]
    blocks: list[Block] = [Grid(_figures(name, of_this))] if any(suite.metrics for suite in of_this) else []
    exhibits = {suite.run: suite.exhibits for suite in of_this if suite.exhibits}
    return blocks + (_folds(exhibits, comparison) if exhibits else [])


def _figures(name: str, suites: Sequence[Suite]) -> Table:
    metrics = list(dict.fromkeys(metric for suite in suites for metric in suite.metrics))
    if len(metrics) <= max(len(suites), 5):
        rows = [[suite.run, *(sections.interval(suite.metrics.get(metric)) for metric in metrics)] for suite in suites]
        return Table(_titled(name), ["rung", *metrics], rows)
    turned = [[metric, *(sections.interval(suite.metrics.get(metric)) for suite in suites)] for metric in metrics]
    return Table(_titled(name), ["figure", *(suite.run for suite in suites)], turned)


def _costs(comparison: Mapping[str, Any]) -> Iterator[Block]:
    yield Grid(sections.costs(comparison))
    for made in (sections.bills(comparison), sections.break_even(comparison)):
        if made is not None:
            yield Grid(made)


def _made(comparison: Mapping[str, Any], evidence: Evidence) -> Iterator[Block]:
    account = sections.row_account(comparison)
    if account:
        yield Prose(f"Rows of the data: {account}.")
    if gate := sections.gate(comparison):
        yield Grid(gate)
    columns = ["rung", "seed", "overrides", "fit key", "prediction key", "score key", "reused", "fitted", "commit"]
    keys = [
        [row["name"], row["seed"], " ".join(row["overrides"])]
        + [row["keys"][stage][:16] for stage in ("fit", "predict", "score")]
        + [", ".join(name for name, there in row["reused"].items() if there), *origin]
        for row, origin in zip(comparison["rows"], evidence.origins, strict=False)
    ]
    if keys:
        note = "Keys are hashes of content; folders under outputs/ carry their beginning."
        yield Grid(Table("Runs", columns, keys, note))
    for title, text in evidence.texts.items():
        yield Fold(title, [Code(text)])
    told = evidence.provenance
    if told:
        parts = {name: part for name, part in told.get("data", {}).items() if isinstance(part, Mapping)}
        hashes = [[name, part["content"], part["rows"]] for name, part in parts.items()]
        hashes += [
            [f"{m} {file}", h, None] for m, files in told.get("weights", {}).items() for file, h in files.items()
        ]
        yield Fold("Data and weights", [Grid(Table("Hashes of content", ["what", "hash", "rows"], hashes))])
        yield Fold("Machine and versions", list(_machine(told)))


def _machine(told: Mapping[str, Any]) -> Iterator[Block]:
    code, devices = told.get("code") or {}, told.get("devices") or {}
    facts = [
        ["stepladder", told.get("stepladder")],
        ["commit", f"{code.get('commit')}{', with changes of its own' if code.get('dirty') else ''}" if code else None],
        ["python", told.get("python")],
        ["platform", told.get("platform")],
        *([name, str(value)] for name, value in devices.items()),
        ["time", told.get("time")],
    ]
    yield Grid(Table("Machine", ["what", "found"], [fact for fact in facts if fact[1] not in (None, "None", "[]")]))
    versions = [[name, version] for name, version in told.get("distributions", {}).items()]
    yield Grid(Table("Packages", ["package", "version"], versions))


def _again(comparison: Mapping[str, Any], evidence: Evidence) -> Iterator[Block]:
    command = comparison.get("command")
    if command:
        yield Prose("The same command makes the same report; what is in the outputs folder already is not made again.")
        yield Code(str(command))
    else:
        yield Prose("This comparison was asked for from Python, by no command.")
    code = evidence.provenance.get("code") or {}
    if code.get("commit"):
        yield Prose(f"Stepladder {evidence.provenance.get('stepladder')}, commit {code['commit']}.")


def _titled(name: str) -> str:
    return name.replace("_", " ").capitalize() if name != "rag" else "Retrieval"


def _slug(name: str) -> str:
    return "".join(sign if sign.isalnum() else "-" for sign in name)
