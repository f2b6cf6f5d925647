"""Cases with a store of finished runs in which files are missing, truncated, replaced, renamed, links or folders."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath

from hypothesis import strategies as st

from fuzzing.bent import Draw, bent_file, weighted
from fuzzing.case import Case, Change, Texts

ASKED = {
    "majority": ("experiment=first_look", "dataset.source.rows=24", "method=majority"),
    "linear": ("experiment=first_look", "dataset.source.rows=24", "method=linear"),
    "rag": ("experiment=first_look", "dataset.source.rows=24", "method=rag"),
    "few_shot": ("experiment=first_look", "dataset.source.rows=24", "method=few_shot"),
    "finetune": ("experiment=first_look", "dataset.source.rows=24", "method=finetune"),
}
"""The runs in the original store."""
COMPARED = ("experiment=first_look", "dataset.source.rows=24", "method=majority,linear")
SWEPT = (
    "experiment=first_look",
    "dataset.source.rows=24",
    "method=linear",
    "+method.words=choice(1,2)",
    "sweep.trials=2",
    "sweep.name=fuzzed",
)
TOPS = ("fits", "fits", "predictions", "predictions", "scores", "scores", "studies", "studies", "indexes")
ODD_NAMES = (
    "done.json",
    "config.yaml",
    "x",
    "é",
    "model-0000000000000000",
    ".unfinished-x",
    "x-r2",
    "a.safetensors",
    "-",
    "x" * 200,
)


def reader(folder: Path) -> Texts:
    """Every file of the originals, except locks and logs."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in found if path.suffix not in (".lock", ".log")
    }


@st.composite
def bent_files(draw: Draw, texts: Texts) -> list[Change]:
    """One to three changes to a store."""
    changes = []
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        top = draw(st.sampled_from(TOPS))
        kinds = sorted({_kind(name) for name in texts if name.startswith(f"outputs/{top}/")})
        kind = draw(st.sampled_from(kinds))  # else the many files of one kind win
        name = draw(st.sampled_from([name for name in sorted(texts) if _kind(name) == kind]))
        folder = str(PurePosixPath(name).parent)
        other = f"{folder}/{draw(st.sampled_from(ODD_NAMES))}"
        way = draw(
            weighted(
                {
                    "bend": 5,
                    "seal": 3,
                    "remove": 1,
                    "rename": 1,
                    "foreign": 1,
                    "link": 1,
                    "folder": 1,
                    "tree": 1,
                    "more": 1,
                }
            )
        )
        if way in ("bend", "seal"):
            content = draw(bent_file(name, texts[name]))
            changes.append(Change("write", name, content))
            changes += _sealed(name, content, texts) if way == "seal" else []
        elif way == "remove":
            changes.append(Change("remove", draw(st.sampled_from([name, folder]))))
        elif way == "rename":
            changes.append(
                Change(
                    "rename",
                    draw(st.sampled_from([name, folder])),
                    other=other if draw(st.booleans()) else f"{folder}-r2",
                )
            )
        elif way == "foreign":
            changes.append(Change("write", name, texts[draw(st.sampled_from(sorted(texts)))]))
        elif way == "link":
            target = draw(
                st.sampled_from(
                    [
                        name.rpartition("/")[2],
                        "nothing",
                        "/dev/null",
                        ".",
                        "../../outside",
                        "../../../outside",
                        "../../../outside/kept.txt",
                    ]
                )
            )
            changes.append(Change("link", draw(st.sampled_from([name, folder])), other=target))
        elif way == "folder":
            changes.append(Change("folder", name))
        elif way == "tree":
            changes.append(Change("copy", folder, other=f"{folder}-r{draw(st.sampled_from([0, 1, 2, 99, '9' * 30]))}"))
        else:
            changes.append(Change("write", other, draw(st.binary(max_size=30))))
    return changes


def _kind(name: str) -> str:
    """Files of one name are one kind, numbers and hashes left out."""
    top = name.split("/")[1] if "/" in name else ""
    return f"{top}/" + "".join(c for c in name.rpartition("/")[2] if not c.isdigit())[:12]


def _sealed(name: str, content: bytes, texts: Texts) -> list[Change]:
    """The hash of what was changed is put right, as one would who means harm."""
    folder = "/".join(name.split("/")[:3])
    done = texts.get(f"{folder}/done.json")
    if done is None or name.endswith("done.json"):
        return []
    record = json.loads(done)
    record["files"][name.removeprefix(f"{folder}/")] = hashlib.sha256(content).hexdigest()
    return [Change("write", f"{folder}/done.json", json.dumps(record).encode())]


@st.composite
def stores(draw: Draw, texts: Texts) -> Case:
    """Verbs over a store that something has happened to."""
    changes = draw(bent_files(texts))
    folders = sorted(
        {
            "/".join(name.split("/")[:3])
            for name in texts
            if name.startswith(("outputs/fits", "outputs/predictions", "outputs/scores"))
        }
    )
    near = [f for f in folders if any(c.path.startswith(f) for c in changes)] or folders
    commands = []
    for _ in range(draw(st.sampled_from([1, 2, 2, 3]))):
        folder = draw(st.sampled_from(near if draw(st.booleans()) else folders))
        verb = draw(
            weighted(
                {
                    "run": 3,
                    "compare": 1,
                    "list": 1,
                    "dry": 1,
                    "clean": 1,
                    "reproduce": 1,
                    "diff": 1,
                    "predict": 1,
                    "check": 1,
                    "keys": 1,
                    "sweep": 1,
                    "status": 1,
                    "list by": 1,
                }
            )
        )
        method = draw(st.sampled_from([m for m in ASKED if any(f"/{m}-" in f for f in near)] or sorted(ASKED)))
        commands.append(_verb(verb, folder, draw(st.sampled_from(folders)), ASKED[method]))
    flag = ("--json",) if draw(st.booleans()) else ()
    return Case("store", tuple((*words, *flag) for words in commands), {}, tuple(changes), "store")


def _verb(verb: str, folder: str, other: str, asked: tuple[str, ...]) -> tuple[str, ...]:
    return {
        "run": ("run", *asked), "compare": ("compare", *COMPARED), "list": ("list",),
        "list by": ("list", "method=linear", "seed=0", "date=20"),
        "dry": ("clean", "--dry-run"), "clean": ("clean",), "reproduce": ("reproduce", folder, "--verify"),
        "diff": ("diff", folder, other),
        "predict": ("predict", folder, "new.csv"), "check": ("check", *asked), "keys": ("show", *asked, "--keys"),
        "sweep": ("sweep", *SWEPT),
        "status": ("sweep", *SWEPT, "--status"),
    }[verb]  # fmt: skip
