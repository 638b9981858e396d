"""Small by rule: the hard stops of the house style. Most code stays far below them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.architecture.source import PACKAGE, ROOT, functions, modules, tree

MODULE, FUNCTION, CLASS, PARAMETERS = 400, 50, 250, 7
COMFORTABLE_MODULE, COMFORTABLE_SHARE = 300, 0.95


def length(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len([name for name in names if name not in {"self", "cls", "ctx"}])


def is_command(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A command's parameters are its options, declared one by one."""
    return any("command" in ast.unparse(decorator) for decorator in node.decorator_list)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_in_a_module_is_too_large(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MODULE
    long_functions = {node.name: length(node) for node in functions(tree(path)) if length(node) > FUNCTION}
    wide = {n.name: parameters(n) for n in functions(tree(path)) if parameters(n) > PARAMETERS and not is_command(n)}
    classes = [node for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)]
    assert long_functions == {}
    assert wide == {}
    assert {node.name: length(node) for node in classes if length(node) > CLASS} == {}


def test_nearly_every_module_is_comfortably_small() -> None:
    lengths = [len(path.read_text(encoding="utf-8").splitlines()) for path in modules()]
    small = [length for length in lengths if length <= COMFORTABLE_MODULE]
    assert len(small) >= COMFORTABLE_SHARE * len(lengths)


def test_folders_are_at_most_two_deep_and_the_root_is_short() -> None:
    assert max(len(path.relative_to(PACKAGE).parts) for path in modules()) <= 3
    assert len([path for path in PACKAGE.iterdir() if path.name != "__pycache__"]) <= 22


def test_every_module_says_what_it_is_for() -> None:
    without = [str(path.relative_to(PACKAGE)) for path in modules() if not ast.get_docstring(tree(path))]
    assert without == []


def test_conftest_files_are_short() -> None:
    long = [str(path) for path in (ROOT / "tests").rglob("conftest.py") if len(path.read_text().splitlines()) > 200]
    assert long == []
