"""`python -m tests.conduit.lines` counts the lines of code that Conduit has for Mizan's sake.

A line counts once if it has code: no blank ones, no comments, no docstrings. Declarations are the lines of `clients.py`
and the rules of `freshness.py`: what is kept, and what a row makes stale. Glue is every other line that would not be
there without Mizan: in the other modules each line that names it or something of it, and `attach` in `freshness.py`.
That is too many rather than too few: a route that takes `mizan` would take a session instead. A call that answers where
the application had a call that queried is neither.
"""

import ast
import io
import re
import tokenize
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "conduit"

# What is Mizan's, or made for it, in modules of the application.
NAMES = re.compile(
    r"(?i:mizan)|\bKept\b|\bclients\b|freshness|authenticate\(|\bIdentity\b|provide=|GRAPH|discover|Context\b"
)
# Answers in place of queries: each of these lines has a line of the application's in its place.
ANSWERS = re.compile(r"return await mizan\.respond\(|^\s*request, clients\.")
# What names Mizan, and is there for another reason: a database to start with, sqladmin's own method.
OTHERS = re.compile(r"postgres_server|async def authenticate")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_lines(path: Path) -> list[str]:
    """The lines of a module that have code."""
    text = path.read_text(encoding="utf-8")
    documented = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            first = node.body[0]
            documented |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    found = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped:
            found |= set(range(token.start[0], token.end[0] + 1))
    lines = text.splitlines()
    return [lines[number - 1] for number in sorted(found - documented)]


def counted() -> tuple[dict[str, int], dict[str, list[str]]]:
    """How many lines declare, by module; and the lines of glue, by module."""
    declared, glue = {}, {}
    for path in sorted(EXAMPLE.glob("*.py")):
        lines = code_lines(path)
        if path.name in {"clients.py", "freshness.py"}:
            begins = next((number for number, line in enumerate(lines) if line.startswith("def attach")), len(lines))
            declared[path.name] = begins
            glue[path.name] = lines[begins:]
        else:
            named = [line for line in lines if NAMES.search(line)]
            glue[path.name] = [line for line in named if not ANSWERS.search(line) and not OTHERS.search(line)]
    return declared, {name: lines for name, lines in glue.items() if lines}


if __name__ == "__main__":
    declared, glue = counted()
    for name, lines in glue.items():
        print(f"{name}: {len(lines)} lines of glue", *lines, sep="\n    ")
    print(f"glue: {sum(map(len, glue.values()))} lines; declarations: {sum(declared.values())} lines, {declared}")
