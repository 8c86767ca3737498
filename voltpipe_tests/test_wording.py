"""The wording of code, messages and pages: plain openings, no archaic words, one meaning a name.

CONTRIBUTING.md has the rules, docs/glossary.md the words. Run it alone with `pytest voltpipe_tests/test_wording.py`.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "voltpipe").rglob("*.py"))
PAGES = sorted([*(ROOT / "voltpipe").rglob("*.html"), *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

# A docstring names the thing (noun phrase) or says what the function does (imperative).
HEADLESS = re.compile(
    r"(What|Who|Whose|Whom|Which|How|When|Where|Why|The same|Likewise|Of|By|Nothing|Nobody|Those|That|So many"
    r"|Whether)\b"
)
# An attribute may be documented by "Whether ...", as is usual for flags.
HEADLESS_ATTRIBUTE = re.compile(HEADLESS.pattern.replace("|Whether", ""))
BANNED = re.compile(
    r"\b(anew|whoever|whomever|whichever|amid|amidst|nought|naught|beside|bury|buried|buries|lest|hitherto|henceforth"
    r"|therein|thereof|thereby|mend|mends|mended|alike|by itself|beyond doubt|for want of|be had|is told|are told"
    r"|stands?|stood|(?:go|goes|went|gone|going) on|as well as can be|so much of|what it is worth)\b",
    re.IGNORECASE,
)
LONGEST_SENTENCE = 25  # words, in help texts and the README


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str, bool]]:
    """Yield line, text and whether it documents an attribute, for each docstring of a module."""
    for node in ast.walk(tree):
        body = getattr(node, "body", [])
        if not isinstance(body, list):
            continue
        for before, statement in zip([None, *body], body, strict=False):
            if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Constant):
                continue
            if isinstance(statement.value.value, str):
                attribute = isinstance(before, ast.Assign | ast.AnnAssign)
                yield statement.lineno, statement.value.value, attribute


def help_texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the help of command-line options and the descriptions of settings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg in ("help", "description") and isinstance(keyword.value, ast.Constant):
                    yield keyword.value.lineno, str(keyword.value.value)


def prose(tree: ast.AST, source: str) -> Iterator[tuple[int, str]]:
    """Yield every string of two words or more, and every comment."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield node.lineno, node.value
    for number, line in enumerate(source.splitlines(), 1):
        if "# " in line:
            yield number, line.split("# ", 1)[1]


def wrong_wording(path: Path) -> list[str]:
    """List what the rules forbid in a source file, each with its line."""
    source = path.read_text()
    tree = ast.parse(source)
    found = []
    for line, text, attribute in docstrings(tree):
        if (HEADLESS_ATTRIBUTE if attribute else HEADLESS).match(text.strip()):
            found.append(f"{line}: opening: {text.strip()[:80]}")
    for line, text in help_texts(tree):
        if not re.match(r"[A-Z0-9`]", text) or not text.rstrip().endswith("."):
            found.append(f"{line}: help text without capital or full stop: {text[:80]}")
        found += [
            f"{line}: {len(s.split())} words: {s[:80]}" for s in sentences(text) if len(s.split()) > LONGEST_SENTENCE
        ]
    for line, text in prose(tree, source):
        found += [
            f"{line}: word: {match[0]}: ...{text[max(0, match.start() - 30) : match.end() + 30]!r}"
            for match in BANNED.finditer(text)
        ]
    return found


def sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.!?:])\s+", " ".join(text.split()))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_is_worded_plainly(path):
    assert wrong_wording(path) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_are_worded_plainly(path):
    text = re.sub(r"```.*?```|`[^`]*`|\{#.*?#\}", "", path.read_text(), flags=re.DOTALL)
    if path.name == "glossary.md":  # names the words to avoid
        text = re.sub(r"\|[^|\n]*\|\n", "|\n", text)
    assert [f"{text[: m.start()].count(chr(10)) + 1}: {m[0]}" for m in BANNED.finditer(text)] == []


def test_readme_has_short_sentences_and_fits_on_a_few_screens():
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") <= 150
    body = re.sub(r"```.*?```|^(    |\|).*$|^#.*$|`[^`]*`", "x", text, flags=re.DOTALL | re.MULTILINE)
    body = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", body)
    paragraphs = re.split(r"\n\s*\n|\n[-*] |\n\d\. ", body)
    assert [s for p in paragraphs for s in sentences(p) if len(s.split()) > LONGEST_SENTENCE] == []


def test_a_file_name_is_used_once():
    by_stem = defaultdict(list)
    for path in SOURCES:
        if path.stem not in ("__init__", "settings"):
            by_stem[path.stem].append(str(path.relative_to(ROOT)))
    # Assets bear the names of their stage.
    twice = {stem: paths for stem, paths in by_stem.items() if len({p for p in paths if "/assets/" not in p}) > 1}
    assert twice == {}


def test_a_public_name_is_defined_once():
    by_name = defaultdict(list)
    for path in SOURCES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                by_name[node.name].append(str(path.relative_to(ROOT)))
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name) and len(target.id) > 1 and not target.id.startswith("_"):
                        by_name[target.id].append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in by_name.items() if len(paths) > 1} == {}
