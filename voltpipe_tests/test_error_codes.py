"""Every error for the user has a stable code, so that tests and callers need not compare its text."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import voltpipe

PACKAGE = Path(voltpipe.__file__).parent
KEBAB_CASE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def name_of(node: ast.expr) -> str | None:
    """Return the last part of a name such as `RecordingError` or `recording.RecordingError`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None


def error_classes(trees: list[ast.Module]) -> dict[str, ast.ClassDef | None]:
    """Return VoltpipeError and all classes derived from it, by name; None for VoltpipeError itself."""
    defined = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    imported = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    aliases = [alias for node in imported for alias in node.names if alias.asname]
    found: dict[str, ast.ClassDef | None] = {"VoltpipeError": None}
    while True:
        more: dict[str, ast.ClassDef | None] = {
            node.name: node for node in defined if any(name_of(base) in found for base in node.bases)
        }
        more |= {alias.asname: found[alias.name] for alias in aliases if alias.asname and alias.name in found}
        if more.keys() <= found.keys():
            return found
        found |= more


def sets_its_own_code(definition: ast.ClassDef | None) -> bool:
    """Return whether a class sets the code of its instances: in `__init__`, which is checked, or as an attribute."""
    for node in definition.body if definition else ():
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return True
        targets = (
            [node.target] if isinstance(node, ast.AnnAssign) else node.targets if isinstance(node, ast.Assign) else []
        )
        if any(name_of(target) == "code" for target in targets):
            return is_kebab_case(node.value)  # type: ignore[union-attr]
    return False


def is_kebab_case(value: ast.expr | None) -> bool:
    """Return whether a value is a literal in kebab-case, or a choice between two of them."""
    if isinstance(value, ast.IfExp):
        return is_kebab_case(value.body) and is_kebab_case(value.orelse)
    return isinstance(value, ast.Constant) and isinstance(value.value, str) and bool(KEBAB_CASE.fullmatch(value.value))


def has_code(call: ast.Call) -> bool:
    """Return whether a call passes a literal code, or the code of the error that it wraps."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}.get("code")
    if isinstance(given, ast.IfExp):
        return is_kebab_case(given.body) and is_kebab_case(given.orelse)
    return is_kebab_case(given) or (isinstance(given, ast.Attribute) and given.attr == "code")


def errors_made(tree: ast.Module, classes: dict[str, ast.ClassDef | None]) -> Iterator[tuple[int, bool]]:
    """Yield the line of each error that is created or raised, and whether it has a code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc and name_of(node.exc) in classes:
            yield node.lineno, sets_its_own_code(classes[name_of(node.exc)])
        elif isinstance(node, ast.Call) and name_of(node.func) in classes:
            yield node.lineno, has_code(node) or sets_its_own_code(classes[name_of(node.func)])
        elif isinstance(node, ast.ClassDef) and node.name in classes:
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__":
                    yield call.lineno, has_code(call)


def offenders(sources: dict[str, str]) -> list[str]:
    trees = {path: ast.parse(source) for path, source in sources.items()}
    classes = error_classes(list(trees.values()))
    return [
        f"{path}:{line}"
        for path, tree in trees.items()
        for line, coded in sorted(errors_made(tree, classes))
        if not coded
    ]


def test_every_error_for_the_user_has_a_literal_code():
    sources = {
        path.relative_to(PACKAGE.parent).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "errors.py"
    }
    assert len(sources) > 200
    assert offenders(sources) == []


def test_errors_without_a_code_are_found_under_any_name():
    errors = (
        "class LabError(VoltpipeError): ...\nclass RigError(errors.LabError): ...\nclass OtherError(Exception): ...\n"
    )
    use = (
        "from errors import RigError as Broken\n"
        "raise RigError('a', code='rig-broken')\n"
        "raise RigError('a')\n"
        "raise errors.LabError(f'{a}', code=f'{a}')\n"
        "raise LabError('a', code='Rig Broken')\n"
        "raise LabError\n"
        "error = Broken('a')\n"
        "raise LabError('a', code=error.code)\n"
        "raise OtherError('a')\n"
        "raise LabError('a', code='rig-broken' if a else 'rig-missing')\n"
        "raise LabError('a', code='rig-broken' if a else b)\n"
    )
    assert offenders({"errors.py": errors, "use.py": use}) == [f"use.py:{line}" for line in (3, 4, 5, 6, 7, 11)]


def test_a_class_may_define_its_own_code():
    source = (
        "class LockError(VoltpipeError):\n"
        "    code = 'locked'\n"
        "class SegmentError(VoltpipeError):\n"
        "    def __init__(self, n):\n"
        "        super().__init__(f'{n}', code='segment-not-chosen')\n"
        "class LooseError(VoltpipeError):\n"
        "    def __init__(self, n):\n"
        "        super().__init__(f'{n}')\n"
        "raise LockError('a')\n"
        "raise SegmentError(2)\n"
        "raise LooseError(2)\n"
    )
    assert offenders({"own.py": source}) == ["own.py:8"]
