"""Every condition in the SQL of the Gate and of its neighbours, read from their sources."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

_BEGINS = r"WHERE|AND|OR|WHEN|ON"
_ENDS = (
    r"THEN|ELSE|END|SET|FROM|RETURNING|ORDER BY|LIMIT|JOIN|UPDATE|INSERT|SELECT|GROUP BY|FOR UPDATE|CASE|DO"
)
_SPLIT = re.compile(rf"(?<!\w)({_BEGINS}|{_ENDS})(?!\w)")
_BETWEEN = re.compile(r"BETWEEN (\S+) AND (\S+)")
_STATEMENT = re.compile(r"\b(WHERE|WHEN|EXISTS|AND)\b")


@dataclass(frozen=True, slots=True)
class Predicate:
    """One condition of a statement, as it is written there."""

    file: str
    statement: str
    words: str


def squeezed(text: str) -> str:
    """Return a condition with every gap as one blank and none beside a bracket, so that layout does not matter."""
    return re.sub(r"\s*([()])\s*", r"\1", " ".join(text.split())).strip("() ,")


def in_sql(*, source: str, file: str) -> Iterator[Predicate]:
    """Return the conditions in every statement that a file keeps under a name in capitals."""
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        # one that is executed often is what `sql.Often` is called with
        value = node.value.args[0] if isinstance(node.value, ast.Call) and node.value.args else node.value
        name, written = node.targets[0].id, ast.get_source_segment(source, value) or ""
        if name.isupper() and '"' in written and _STATEMENT.search(written):
            for words in _conditions(written):
                yield Predicate(file, name, words)


def in_terms(*, source: str, file: str, keys: tuple[str, ...]) -> Iterator[Predicate]:
    """Return the conditions behind parameters that a file keeps in dictionaries under some keys."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Dict):
            continue
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value in keys:
                operands = value.values if isinstance(value, ast.BoolOp) else [value]
                for operand in operands:
                    yield Predicate(file, str(key.value), ast.get_source_segment(source, operand) or "")


def _conditions(written: str) -> Iterator[str]:
    statement = re.sub(r'^[rf]*"+|"+$', "", re.sub(r"--[^\n]*", " ", written))
    parts = _SPLIT.split(_BETWEEN.sub(r"BETWEEN \1 UNTIL \2", statement))
    for keyword, words in zip(parts[1::2], parts[2::2], strict=True):
        condition = squeezed(words.replace(" UNTIL ", " AND "))
        if re.fullmatch(_BEGINS, keyword) and condition and condition not in ("NOT", "EXISTS", "NOT EXISTS"):
            yield condition
