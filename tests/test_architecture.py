"""Rules for the whole tree, each with a sample that breaks it."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FUNCTION_LIMIT = 60
ENTRY_POINTS = {  # the only places, under src/stepladder, that import the package
    "hydra": "config/",
    "omegaconf": "config/",
    "peft": ("tuning/adapters.py", "tuning/low_rank_starts.py"),
    "pytorch_lightning": ("tuning/", "runs/trackers.py"),  # training, and Lightning's loggers
    "wandb": "runs/tracking.py",
    "optuna": "studies/sweep/",
    "psycopg": "studies/sweep/storage.py",
    "jinja2": ("models/chat.py", "reports/page.py"),  # errors of chat templates, and pages
    "markupsafe": "reports/page.py",
    "transformers": ("models/", "engine/"),
    "tokenizers": "models/",
    "llguidance": "engine/grammar.py",
    "bm25s": "context/index.py",
    "datasets": "dataset/sources.py",
    "submitit": "distributed/launch.py",
    "pydantic": "config/value_types.py",
    "pydantic_core": "config/value_types.py",
    "jsonschema": "io/json_schema.py",
    "httpx": "models/api/",
}
HEAVY = {  # seconds to import; plus all that has a door except config's own
    *("torch", "sklearn", "scipy", "statsmodels", "pyarrow", "pandas"),
    *(ENTRY_POINTS.keys() - {"hydra", "omegaconf", "pydantic", "pydantic_core"}),
}
PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
WORN_WORDS = {"Manager", "Handler", "Helper", "Helpers", "Utils", "Util", "Base", "Abstract"}
WORN_FILES = {"utils", "util", "helper", "helpers", "common", "misc", "base", "manager"}
ABSOLUTE_HOME = re.compile(r"(?<![\w.~}])/(?:root|home|Users|work|opt|mnt)/\w")
UNFINISHED = re.compile(r"\b(?:T[O]DO|F[I]XME|X[X]X)\b")
REGISTRY = re.compile(r"--(?:extra-)?index-ur[l]\b")


@dataclass(frozen=True)
class Source:
    """A file of the tree, or a sample that stands for one."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.name)

    @property
    def place(self) -> str:
        """Where it stands in the package."""
        return self.name.removeprefix("src/stepladder/")


def sources() -> list[Source]:
    folders = [ROOT / name for name in ("src", "conf", "tests", "scripts", ".ci", "docs")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    files += [path for path in ROOT.iterdir() if path.suffix in {".md", ".toml", ".txt", ".yaml", ".yml"}]
    written = [path for path in files if "__pycache__" not in path.parts and b"\0" not in path.read_bytes()[:8192]]
    return [Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in sorted(written)]


TREE = sources()
MODULES = [source for source in TREE if source.name.startswith("src/") and source.name.endswith(".py")]


# Rules: each gives a line for every fault that it finds in one file.


def long_functions(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1 - (ast.get_docstring(node) or "").count("\n")
            if lines > FUNCTION_LIMIT:
                yield f"{node.name} has {lines} lines"


def no_docstring(source: Source) -> Iterator[str]:
    if not ast.get_docstring(source.tree):
        yield "does not say what it knows"


def swallowed_errors(source: Source) -> Iterator[str]:
    """Catching everything is allowed only to raise on."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            caught = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)} if node.type else {""}
            raises_on = isinstance(node.body[-1], ast.Raise)
            if caught & {"", "Exception", "BaseException"} and not raises_on:
                yield f"line {node.lineno} catches everything and goes on"


def worn_names(source: Source) -> Iterator[str]:
    if Path(source.name).stem in WORN_FILES:
        yield "has a name that says nothing"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and WORN_WORDS & set(re.findall(r"[A-Z][a-z]*", node.name)):
            yield f"class {node.name} has a name that says nothing"


def wrong_entry_points(source: Source) -> Iterator[str]:
    for line, package in imports(source.tree):
        places = ENTRY_POINTS.get(package)
        if places and not source.place.startswith(places):
            yield f"line {line} imports {package}, whose entry point is {places}"


def unsafe_weights(source: Source) -> Iterator[str]:
    for line, package in imports(source.tree):
        if package in PICKLES:
            yield f"line {line} imports {package}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if ast.unparse(node.func) == "torch.load" and given.get("weights_only") != "True":
                yield f"line {node.lineno} loads a pickle"
            if given.get("trust_remote_code", "False") != "False":
                yield f"line {node.lineno} runs code from a hub"


def wrong_words(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.text.splitlines(), 1):
        if ABSOLUTE_HOME.search(line):
            yield f"line {number} names a path of one machine"
        if REGISTRY.search(line):
            yield f"line {number} names a package registry"
        if UNFINISHED.search(line):
            yield f"line {number} is unfinished"


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and top-level package of every import: late, typing-only and by `import_module` too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module.split(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            names = [argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)]
            yield from ((node.lineno, str(name).split(".")[0]) for name in names)


Rule = Callable[[Source], Iterator[str]]
FOR_MODULES: list[Rule] = [
    long_functions, no_docstring, swallowed_errors, worn_names, wrong_entry_points, unsafe_weights,
]  # fmt: skip


@pytest.mark.parametrize("rule", FOR_MODULES)
def test_every_module_keeps(rule: Rule) -> None:
    assert MODULES
    assert [f"{module.name} {fault}" for module in MODULES for fault in rule(module)] == []


@pytest.mark.parametrize("rule", [wrong_words])
def test_every_file_keeps(rule: Rule) -> None:
    assert [f"{source.name} {fault}" for source in TREE for fault in rule(source)] == []


@pytest.mark.parametrize(
    ("rule", "name", "text"),
    [
        (long_functions, "a.py", "def f():\n" + "    x = 1\n" * 60),
        (no_docstring, "a.py", "x = 1\n"),
        (swallowed_errors, "a.py", "try:\n    f()\nexcept Exception:\n    pass\n"),
        (swallowed_errors, "a.py", "try:\n    f()\nexcept (ValueError, BaseException) as e:\n    print(e)\n"),
        (swallowed_errors, "a.py", "try:\n    f()\nexcept:\n    g()\n"),
        (worn_names, "src/stepladder/models/utils.py", ""),
        (worn_names, "a.py", "class RunManager: ..."),
        (worn_names, "a.py", "class BaseModel: ..."),
        (wrong_entry_points, "src/stepladder/models/a.py", "def f():\n    from peft import LoraConfig\n"),
        (wrong_entry_points, "src/stepladder/cli/entry.py", "import hydra.utils\n"),
        (wrong_entry_points, "src/stepladder/runs/a.py", "if TYPE_CHECKING:\n    import wandb\n"),
        (wrong_entry_points, "src/stepladder/runs/a.py", "importlib.import_module('optuna.samplers')\n"),
        (unsafe_weights, "a.py", "import pickle\n"),
        (unsafe_weights, "a.py", "torch.load(path)\n"),
        (unsafe_weights, "a.py", "load(path, trust_remote_code=True)\n"),
        (wrong_words, "a.py", "folder = '/" + "home/me/data'"),
        (wrong_words, "a.sh", "pip install --extra-index-u" + "rl x"),
        (wrong_words, "a.md", "TO" + "DO later"),
    ],
)
def test_a_rule_catches(rule: Rule, name: str, text: str) -> None:
    assert list(rule(Source(name, text)))


@pytest.mark.parametrize(
    ("rule", "name", "text"),
    [
        (swallowed_errors, "a.py", "try:\n    f()\nexcept Exception as e:\n    note(e)\n    raise\n"),
        (worn_names, "src/stepladder/methods/baselines.py", "class Baselines: ..."),
        (wrong_entry_points, "src/stepladder/tuning/adapters.py", "import peft\n"),
        (wrong_entry_points, "src/stepladder/dataset/a.py", "from . import datasets\n"),
        (unsafe_weights, "a.py", "torch.load(path, weights_only=True)\n"),
        (wrong_words, "a.md", "https://example.org/home/page and ../work/x\n"),
    ],
)
def test_a_rule_lets_pass(rule: Rule, name: str, text: str) -> None:
    assert list(rule(Source(name, text))) == []


# The contracts of [tool.importlinter] in pyproject.toml.


def broken_contracts(root: Path) -> str:
    """What import-linter says against the tree under `root`; empty when every contract is kept."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache", "--no-logo"],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root / "src")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_the_import_contracts_hold() -> None:
    assert broken_contracts(ROOT) == ""


@pytest.mark.parametrize(
    ("plant", "contract"),
    [
        ({"dataset/zz.py": "from stepladder.models import toy"}, "packages below it BROKEN"),
        ({"errors.py": "def late():\n    from stepladder import types"}, "packages below it BROKEN"),
        ({"types.py": "if TYPE_CHECKING:\n    from stepladder import resources"}, "packages below it BROKEN"),
        ({"spare/__init__.py": ""}, "spare"),
        (
            {"evaluation/yy.py": "from . import zz", "evaluation/zz.py": "def f():\n    from . import yy"},
            "counted BROKEN",
        ),
        ({"tuning/zz.py": "from stepladder.models import local"}, "and on the engine BROKEN"),
        ({"models/language_model.py": "from stepladder.models import local"}, "depends on no model BROKEN"),
        ({"methods/zz.py": "from stepladder.config import compose"}, "without Hydra BROKEN"),
    ],
)
def test_an_import_contract_catches(plant: dict[str, str], contract: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name, text in plant.items():
        file = tmp_path / "src" / "stepladder" / name
        file.parent.mkdir(exist_ok=True)
        with file.open("a", encoding="utf-8") as stream:
            stream.write(f"\n{text}\n")
    assert contract in broken_contracts(tmp_path)


# What `stepladder show` imports: config, the command line, and whatever a YAML file names as its target.

FIRST_HEAVY = """
import importlib, sys
heavy = set(sys.argv[1].split())
for module in sys.argv[2:]:
    importlib.import_module(module)
    loaded = heavy & set(sys.modules)
    if loaded:
        sys.exit(f"importing {module} loads {', '.join(sorted(loaded))}")
"""


def first_heavy(*modules: str) -> str:
    command = [sys.executable, "-c", FIRST_HEAVY, " ".join(sorted(HEAVY)), *modules]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.strip()


def test_config_and_its_targets_import_nothing_heavy() -> None:
    text = "\n".join(source.text for source in TREE if source.name.startswith("conf/"))
    targets = {name.rpartition(".")[0] for name in re.findall(r"_target_:\s*(stepladder\.[\w.]+)", text)}
    config = {module.place[:-3].replace("/", ".") for module in MODULES if module.place.startswith("config/")}
    named = {f"stepladder.{name.removesuffix('.__init__')}" for name in config} | {"stepladder.cli.entry"}
    assert "stepladder.config.compose" in named
    assert targets
    assert first_heavy(*sorted(named), *sorted(targets)) == ""


def test_a_heavy_import_is_caught() -> None:
    assert first_heavy("stepladder.types", "scipy") == "importing scipy loads scipy"
