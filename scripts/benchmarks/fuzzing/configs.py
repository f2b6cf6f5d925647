"""Cases with command lines and --config-dir folders: wrong values for every key, broken grammar, unusual YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from fuzzing.bent import Draw, bent_bytes, rare
from fuzzing.case import MARKER, Case

ATTACKS = (
    f"{{_target_: os.system, command: touch {MARKER}}}",
    f"{{_target_: subprocess.Popen, args: [touch, {MARKER}]}}",
    f"{{_target_: builtins.open, file: {MARKER}, mode: w}}",
    f"{{_target_: pathlib.Path.touch, self: {MARKER}}}",
    f"{{_target_: stepladder.io.files.write_text, path: {MARKER}, text: x}}",
    f"{{_target_: stepladder.io.files.shutil.os.system, command: touch {MARKER}}}",
    f"{{_target_: stepladder.config.targets.importlib.import_module, name: {MARKER}}}",
    f"{{_target_: optuna.storages.RDBStorage, url: 'sqlite:///{MARKER}'}}",
    f"{{_target_: optuna.storages.journal.JournalFileBackend, file_path: {MARKER}}}",
    f"{{_target_: optuna.artifacts.FileSystemArtifactStore, base_path: {MARKER}}}",
    f"{{_target_: stepladder.studies.sweep.storage.FileLocks, folder: {MARKER}}}",
    f"{{_target_: stepladder.studies.sweep.storage.ServerLocks, url: 'postgresql://x@127.0.0.1:1/x', study: {MARKER}}}",
    "{_target_: stepladder.__main__.main}",
    "{_target_: stepladder.cli.entry.main}",
    "{_target_: stepladder.errors.UserError, what: x}",
    "{_target_: stepladder.store.store.Store, root: x}",
    "{_target_: stepladder.types.Text}",
    "{_target_: torch.optim.AdamW}",
    "{_target_: optuna.integration.LightGBMTuner}",
    "{_target_: peft.LoraModel}",
    "{_target_: peft.LoraConfig, r: 0}",
    "{_target_: a..b}",
    "{_target_: null}",
    "{_target_: ''}",
    "{_target_: [x]}",
    "{_target_: stepladder.é.x}",
)
GOOD = (
    "null", "true", "false", "0", "1", "2", "3", "4", "7", "0.1", "0.5", "1.0", "0.01", "text", "a", "none", "fixed",
    "random", "bm25", "greedy", "choose",
    "cosine", "linear", "holm", "cpu", "stop", "skip", "keep", "drop", "float32", "bf16", "'{question}'",
    "'Q: {question}'", "[]", "[street]", "street",
)  # fmt: skip
"""Values that are valid for some keys."""
VALUES = (
    "null", "true", "false", "0", "-1", "1", "2", "3", "0.5", "1.5", "-0.5", "1e308", "1e-308", "inf", "-inf", "nan",
    "1000000000000000000000000000000", "9" * 5000, "", "''", "' '", "text", "auto", "none", "toy", "é", "'💥'",
    "'\u202e'",
    "'\\n'", "'a,b'", "[]", "[1]", "[a,b]", "[null]", "[[[]]]", "{}", "{a: 1}", "{a: {b: {c: []}}}", "{'': 1}", "???",
    "${seed}", "${nothing}", "${method}", "${dataset.train}", "${.x}", "${..}", "${", "\\${x}", "'\\${seed}'",
    "${oc.decode:1}",
    "${oc.create:[1]}", "${oc.select:seed}", "'{x'", "'{}'", "'{text!r}'", "'{text:>9}'", "'{text} {label}'",
    "/nowhere/x.csv",
    "../x", "~", ".", "'" + "x" * 3000 + "'", "(", "[", "1,2", "a,b,", "choice(1,2)", "choice()", "range(1,3)",
    "range(3,1)",
    "range(0,1e18)", "range(1,1000000000000)", "interval(0,1)", "interval(1,0)", "interval(nan,1)",
    "tag(log,interval(0,1))",
    "shuffle(1,2)", "sort(2,1)", "sort(a,1)", "glob(*)", "glob([", "int(x)", "float(nan)", "str([1])", "bool(2)",
    "json_str(x)",
    "tag(x)", "extend_list(1)", "[" * 400, "[" * 400 + "]" * 400, "{a:" * 300 + "1" + "}" * 300, *ATTACKS,
)  # fmt: skip
"""What a key is set to, as an override says it."""
GARBAGE = (
    "", "=", "==", "=x", "x", "x=", "+", "++", "~", "~=", "@=", "a@b=c", "a@b:c=d", "dataset@x.y=toy", "+a=1",
    "+a.b.c=1",
    "++a=1", "~seed", "~dataset", "~method", "~sweep", "~evaluation", "~decoding", "~model", "~comparison",
    "~preflight",
    "~compute",
    "~tracking", "~nothing", "~seed=1", "~method=zero_shot", "dataset=null", "method=null", "model=null",
    "evaluation=null",
    "evaluation=[]", "evaluation=[x]", "evaluation={a: b}", "evaluation=[auto,auto]", "evaluation=[calibration,slices]",
    "evaluation=[format]", "evaluation=[robustness]", "evaluation=[out_of_scope]", "evaluation=[rag]",
    "evaluation=[retention]",
    "decoding=null", "sweep=null", "comparison=null", "preflight=null", "compute=null", "tracking=null",
    "experiment=null",
    "dataset=../model/toy", "dataset=/toy", "dataset=toy.yaml", "dataset=''", "dataset=[toy,file]",
    "method=[rag,finetune]",
    "dataset/x=y", "sweep/sampler=gp", "sweep.sampler=x", "sweep.sampler=null", "sweep/pruner=hyperband", "a.b.c.d=1",
    "..=1", ".a=1", "a.=1", "a..b=1", "a[0]=1", "dataset.tags[0]=x", "seed[0]=1", "hydra.run.dir=x", "hydra/launcher=x",
    "+hydra.x=1", "é=1", "\u0000=1", "x=\u0000", "seed=\udcff", "dataset.train=\udcff\udc80", "a b=c", "seed = 1",
    "seed=1 ",
    "--x", "-x", "--json=1", "--outputs", "--trust", "--trust=os", "--keys", "--status", "--fresh", "-m", "--",
    "--help=1",
    "1=1", "null=1", "'a'=1", "seed=0\nseed=1", "seed=0,1", "seed=0,0", "seed=x,y", "method=majority,linear",
    "model=nope",
    "method=nope,linear", "dataset.labels={a: 1}", "dataset.labels=[a]", "dataset.labels=[a,a]",
    "dataset.labels={a: x, b: y}",
)  # fmt: skip
METHODS = ("majority", "linear", "zero_shot", "structured", "few_shot", "rag", "finetune")
NOT_TRIED = ("sweep.workers", "compute.accelerator", "tracking")
"""Keys whose odd but right values begin processes or reach for a network: only looked at by verbs that run nothing."""
QUICK = (
    "show",
    "show",
    "show",
    "show --keys",
    "check",
    "check",
    "run",
    "run",
    "run --fresh",
    "compare",
    "sweep",
    "sweep --status",
)


@st.composite
def overrides(draw: Draw, keys: Mapping[str, Any]) -> list[str]:
    """One to four, most of them at keys that there are."""
    plain = sorted(key for key, value in keys.items() if isinstance(value, bool | int | float))
    found = []
    for _ in range(draw(st.sampled_from([1, 1, 1, 1, 1, 2, 2, 3]))):
        way = draw(st.sampled_from(["near"] * 9 + ["good"] * 4 + ["hostile"] * 4 + ["garbage"] * 2 + ["key"]))
        key = draw(st.sampled_from(plain if way == "near" else sorted(keys)))
        if way == "near":
            found.append(f"{key}={draw(st.sampled_from(_near(keys[key])))}")
        elif way == "garbage":
            found.append(draw(st.sampled_from(GARBAGE)))
        elif way == "key":
            odd = [key + "x", key.upper(), key.rpartition(".")[0] or key, f"{key}.more"]
            found.append(f"{draw(st.sampled_from(odd))}={draw(st.sampled_from(GOOD))}")
        else:
            sign = draw(st.sampled_from(["", "", "", "", "", "", "+", "++", "~"])) if way == "hostile" else ""
            found.append(f"{sign}{key}={draw(st.sampled_from(VALUES if way == 'hostile' else GOOD))}")
    return found


def _near(value: Any) -> tuple[str, ...]:
    """The same value, and others of its kind."""
    if isinstance(value, bool):
        return ("true", "false")
    others = (value, value + 1, value * 2, value / 2, value * 10, 0, -1, 1000003)
    return tuple(str(other) for other in others)


@st.composite
def command_lines(draw: Draw, keys: Mapping[str, Any]) -> Case:
    """A verb and overrides on a small experiment."""
    method = draw(st.sampled_from(METHODS))
    words = ["experiment=first_look", "dataset.source.rows=24", f"method={method}", *draw(overrides(keys))]
    return Case("config", (_asked(draw, words),))


def _asked(draw: Draw, words: Sequence[str], *flags: str) -> tuple[str, ...]:
    verb, *own = draw(st.sampled_from(QUICK)).split(" ")
    words = list(words)
    if any(name in word for word in words for name in NOT_TRIED):
        verb, own = "show", []
    if "method=finetune" in words and verb not in ("show", "check"):  # a million epochs are right, and take their time
        verb, own = "check", []
    if verb == "sweep":
        words += draw(st.sampled_from([["+method.words=choice(1,2)"], ["sweep=lora"], [], ["retrieval.k=range(1,4)"]]))
        words += ["sweep.trials=2"] if not any(word.startswith("sweep.trials") for word in words) else []
    if verb == "compare":
        words += draw(st.sampled_from([["seed=0,1"], ["method=majority,linear"], ["comparison.baseline=x"], []]))
        words = [w for w in words if w != "method=majority"] if "method=majority,linear" in words else words
    json_too = ["--json"] if draw(st.booleans()) else []
    return (verb, *words, *own, *flags, *json_too)


YAMLS = (
    "", "null\n", "[]\n", "x\n", "- 1\n", "a: &a [1]\nb: *a\n", "a: *nothing\n", "a: 1\na: 2\n", "\tseed: 1\n",
    "seed: 1\n\tx: 2\n",
    "seed: {\n", "? [a]\n: 1\n", "1: 2\n", "true: 1\n", "null: 1\n",
    "!!python/object/apply:os.system ['touch marker-of-code-that-ran']\n",
    "seed: !!python/name:os.system\n", "seed: !!binary aGk=\n", "seed: !!timestamp 2020-01-01\n",
    "seed: 2020-01-01\n", "seed: 0x10\n",
    "seed: 1_000\n", "seed: 1e3\n", "seed: ~\n", "seed: .nan\n", "seed: .inf\n", "seed: '0'\n", "seed: 0o7\n",
    "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in pairwise("abcdefg")),
    "a: &a {b: *a}\n", "seed: &s [*s]\n", "defaults: null\n", "defaults: x\n", "defaults: [x]\n",
    "defaults: [{x: y}]\n",
    "defaults: [_self_, _self_]\n", "defaults: [{/dataset: toy}]\n", "defaults: [{override /dataset: toy}]\nseed: 3\n",
    "# @package _global_\nseed: 3\n", "# @package a.b\nseed: 3\n", "# @package\nseed: 3\n",
    "# @package ${seed}\nx: 1\n",
    "_target_: os.system\n", "_target_: null\n", "_recursive_: true\n", "seed: ${seed}\n", "a: ${b}\nb: ${a}\n",
    "x: ${..}\n",
    "x: '${oc.env:HOME}'\n", "x: ${nothing:1}\n", "x: '" + "${a" * 200 + "'\n", "[" * 1000 + "\n",
    "a: " + "{a: " * 300 + "\n", "%YAML 9.9\n---\na: 1\n",
    "---\na: 1\n---\nb: 2\n", "a: !x 1\n", "a: |\n  x\n b\n", "\ufeffseed: 1\n", "seed: 1\0\n", "x" * 20000 + ": 1\n",
)  # fmt: skip


@st.composite
def folders(draw: Draw, keys: Mapping[str, Any], originals: Mapping[str, str]) -> Case:
    """A --config-dir with one to three files, that stand in for packaged ones or are new; `originals` by name."""
    files: dict[str, bytes] = {}
    words = ["experiment=first_look", "dataset.source.rows=24", f"method={draw(st.sampled_from(METHODS))}"]
    for _ in range(draw(st.sampled_from([1, 1, 2, 3]))):
        name = draw(st.sampled_from(sorted(originals)))
        whole = originals[name].encode()
        way = draw(st.sampled_from(["yaml", "bytes", "line", "line", "line", "value", "value"]))
        if way == "yaml":
            whole = draw(st.sampled_from(YAMLS)).encode()
        elif way == "bytes":
            whole = draw(bent_bytes(whole))
        else:
            lines = whole.decode().splitlines()
            at = draw(st.integers(0, max(0, len(lines) - 1)))
            key = lines[at].partition(":")[0] if lines else "x"
            value = draw(st.sampled_from(VALUES if rare(draw, 3) else GOOD)).replace("\n", " ")
            lines[at : at + 1] = (
                [f"{key}: {value}"]
                if way == "value"
                else draw(st.sampled_from([[], lines[at : at + 1] * 2, ["\t" + key], [f"{key}x: 1"], [key]]))
            )
            whole = "\n".join(lines).encode() + b"\n"
        if rare(draw, 4):
            group = name.partition("/")[0]
            if "/" in name:
                name = f"{group}/own.yaml"
                words.append(f"{group}=own")
        files[f"conf/{name}"] = whole
    if rare(draw, 10):
        files["conf/dataset/own.txt"] = b"x"
        files["conf/é/own.yaml"] = b"a: 1\n"
    group = draw(st.sampled_from(sorted(files))).split("/")[1]
    option = draw(st.sampled_from(sorted(files))).rpartition("/")[2].removesuffix(".yaml")
    words += [f"{group}={option}"] if rare(draw, 6) and group != f"{option}.yaml" else []
    return Case("conf folder", (_asked(draw, words, "--config-dir", "conf"),), files)
