"""Text of a model is never run, unpickled, imported or taken as a template: the sources have nothing that could do so."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import polycall

ROOT = Path(polycall.__file__).parent

ALLOWED = {
    ("cli/_commands.py", "importlib.import_module"): "`--tools package.module:Name` is what the user types, as for `python -m`",
    ("local/_engine.py", "importlib.import_module"): "the one name is written there: llama.cpp, which ships no types",
    ("local/_model.py", "ctypes"): "keeps an object of llama.cpp alive in a forked process",
    ("_partial.py", "typing.get_type_hints"): "annotations of the user's own types",
    ("_signature.py", "typing.get_type_hints"): "annotations of the user's own functions",
    ("testing/_chat_format.py", ".format"): "OpenAI's words for bad conversations, all of them constants of that file",
}
"""File and thing, with the reason; each has to be needed."""

MODULES = frozenset(
    {
        *("pickle", "cPickle", "_pickle", "cloudpickle", "dill", "jsonpickle", "joblib", "marshal", "shelve", "copyreg"),
        *("code", "codeop", "runpy", "imp", "pty", "ctypes", "pickletools"),
        *("jinja2", "mako", "chevron", "pystache", "tornado.template", "django.template", "yaml"),
    }
)
FUNCTIONS = frozenset({"eval", "exec", "compile", "execfile", "__import__", "input", "breakpoint"})
IN_MODULES = {
    "builtins": FUNCTIONS,
    "importlib": {"import_module", "__import__", "reload"},
    "importlib.util": {"spec_from_loader", "spec_from_file_location", "module_from_spec"},
    "importlib.machinery": {"SourceFileLoader", "SourcelessFileLoader"},
    "string": {"Template", "Formatter"},
    "os": {"system", "popen"},
    "types": {"FunctionType", "CodeType", "LambdaType"},
    "pkgutil": {"resolve_name"},
    "pydantic": {"ImportString"},
    "typing": {"get_type_hints"},
    "typing_extensions": {"get_type_hints", "evaluate_forward_ref"},
}
METHODS = frozenset({"format", "format_map", "vformat", "exec_module", "load_module", "__reduce_ex__"})
"""Names of methods that are calls of a template, whatever they are called on."""


def findings(source: str) -> Iterator[str]:
    """Yield what a source has of the things that could run, import or fill in text, by their full names."""
    tree = ast.parse(source)
    names = _imported(tree)
    remainders = {id(one.left) for one in ast.walk(tree) if isinstance(one, ast.Compare) and _is_number(*one.comparators)}
    holders = {id(one.value) for one in ast.walk(tree) if isinstance(one, ast.Attribute) and not one.attr.startswith("__")}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _import(node)
        elif isinstance(node, ast.Attribute):
            yield from _attribute(node, names, method=id(node) not in holders)
        elif isinstance(node, ast.Call):
            yield from _call(node)
        elif id(node) not in remainders:
            yield from _other(node)


def _import(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if _is_one_of(alias.name, MODULES))
    elif not node.level:
        module = node.module or ""
        modules = {module, *(f"{module}.{alias.name}" for alias in node.names)}
        yield from (one for one in modules if _is_one_of(one, MODULES))
        yield from (f"{module}.{alias.name}" for alias in node.names if alias.name in IN_MODULES.get(module, ()))


def _other(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Load()) if name in FUNCTIONS:
            yield name
        case ast.BinOp(left=left, op=ast.Mod(), right=right) if not (isinstance(left, ast.Constant) or _is_number(right)):
            yield "% of what is no constant"
        case ast.AugAssign(op=ast.Mod(), value=value) if not _is_number(value):
            yield "% of what is no constant"
        case ast.FormattedValue(format_spec=ast.AST() as spec) if _is_computed(spec):
            yield "a format that is computed"
        case _:
            return


def _imported(tree: ast.AST) -> dict[str, str]:
    """Return the modules that names stand for."""
    names: dict[str, str] = {"builtins": "builtins", "__builtins__": "builtins"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = alias.name if alias.asname else alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _attribute(node: ast.Attribute, names: dict[str, str], *, method: bool) -> Iterator[str]:
    path = _path(node.value, names)
    if path is not None and node.attr in IN_MODULES.get(path, ()):
        yield f"{path}.{node.attr}"
    elif node.attr in METHODS and method and isinstance(node.ctx, ast.Load):
        yield f".{node.attr}"


def _call(node: ast.Call) -> Iterator[str]:
    """Find ``getattr(builtins, "eval")`` and its like: the name of what must not be there, as a text."""
    hidden = FUNCTIONS | METHODS | {"import_module", "Template"}
    for one in node.args:
        if (
            isinstance(one, ast.Constant)
            and isinstance(one.value, str)
            and one.value in hidden - {"input", "format", "compile", "code"}
        ):
            yield f"{one.value!r} as a text"


def _path(node: ast.AST, names: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        holder = _path(node.value, names)
        return None if holder is None else f"{holder}.{node.attr}"
    return None


def _is_one_of(module: str, modules: frozenset[str]) -> bool:
    return any(module == one or module.startswith(f"{one}.") for one in modules)


def _is_number(*sides: ast.AST) -> bool:
    """Whether one side is a number: then ``%`` is a remainder, and fills in no template."""
    return any(isinstance(one, ast.Constant) and isinstance(one.value, int | float) for one in sides)


def _is_computed(spec: ast.AST) -> bool:
    return any(isinstance(one, ast.FormattedValue) for one in ast.walk(spec))


SOURCES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_in_the_sources_runs_text(path):
    place = path.relative_to(ROOT).as_posix()
    found = sorted(one for one in findings(path.read_text(encoding="utf-8")) if (place, one) not in ALLOWED)
    assert not found


def test_all_sources_are_read():
    assert len(SOURCES) > 40
    assert ROOT / "_validate.py" in SOURCES


@pytest.mark.parametrize(("place", "thing"), ALLOWED)
def test_what_is_allowed_is_needed(place, thing):
    assert thing in findings((ROOT / place).read_text(encoding="utf-8"))


BAD = [
    "eval(text)",
    "exec(text)",
    "compile(text, '', 'exec')",
    "run = eval",
    "map(eval, texts)",
    "import builtins\nbuiltins.eval(text)",
    "import builtins as b\nb.exec(text)",
    "from builtins import eval as read",
    "__builtins__.eval(text)",
    "getattr(object, 'eval')(text)",
    "getattr(importlib, 'import_module')(text)",
    "__import__(text)",
    "import importlib\nimportlib.import_module(text)",
    "import importlib as i\ni.import_module(text)",
    "from importlib import import_module",
    "from importlib import import_module as load",
    "import importlib.util\nimportlib.util.spec_from_file_location(text, text)",
    "from importlib import util\nutil.module_from_spec(text)",
    "import importlib\nimportlib.reload(text)",
    "spec.loader.exec_module(module)",
    "import pickle",
    "import pickle as json",
    "from pickle import loads",
    "import marshal",
    "import shelve",
    "import dill.source",
    "import runpy",
    "import yaml",
    "import jinja2",
    "from jinja2 import Template",
    "import jinja2.sandbox",
    "from mako.template import Template",
    "from tornado import template",
    "text.format(value)",
    "'{}'.format(value)",
    "text.format_map(values)",
    "str.format(text, value)",
    "write = text.format",
    "map(str.format, texts)",
    "import string\nstring.Template(text)",
    "import string as s\ns.Template(text)",
    "from string import Template",
    "from string import Template as T",
    "import string\nstring.Formatter().vformat(text, (), {})",
    "text % value",
    "text % (value, value)",
    "f'{text}' % value",
    "('a' + text) % value",
    "text %= value",
    "text % 5 % value",
    "name.text.format.__call__",
    "f'{value:{text}}'",
    "import os\nos.system(text)",
    "from os import popen",
    "import types\ntypes.FunctionType(code, {})",
    "import pkgutil\npkgutil.resolve_name(text)",
    "import pydantic\npydantic.ImportString",
    "def f():\n    class A:\n        async def g(self):\n            return [eval(one) for one in texts]",
]


@pytest.mark.parametrize("source", BAD)
def test_bad_sources_are_found(source):
    assert list(findings(source))


@pytest.mark.parametrize(
    "source",
    [
        "import re\nre.compile(text)",
        "evaluate(text)",
        "self.eval_count",
        "count % 2",
        "if count % turn == 0: pass",
        "self.format.body(text)",
        "2 % count",
        "turn % 10_000",
        "b'%x' % length",
        "'%s' % value",
        "f'{value:.3g}'",
        "f'{value!r:>10}'",
        "import importlib.metadata\nimportlib.metadata.version('polycall')",
        "import importlib.util\nimportlib.util.find_spec('httpx2')",
        "import string\nstring.ascii_letters",
        "def __reduce__(self):\n    return type(self), self.args",
        "from polycall._dialects import code",
        "format = 'json'",
        "schema['format']",
        "schema.get('format')",
    ],
)
def test_good_sources_are_left_alone(source):
    assert not list(findings(source))
