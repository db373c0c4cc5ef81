"""
What a migration does that old processes beside it may not survive.

While a new version is deployed, workers of the old one still run on the new schema: they read columns by name, and
insert rows without those that they do not know. So a migration may add, and must not take away, rename or narrow.
"""

import re
from collections.abc import Iterator, Sequence

from django.db import connection, models
from django.db.migrations import operations as acts
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

TAKES_AWAY = (
    acts.RemoveField,
    acts.RenameField,
    acts.DeleteModel,
    acts.RenameModel,
    acts.AlterModelTable,
    acts.AlterUniqueTogether,
    acts.AlterOrderWithRespectTo,
    acts.RemoveConstraint,
)
NARROWS = re.compile(
    r"\b(DROP|RENAME|TRUNCATE|DELETE\s+FROM|SET\s+NOT\s+NULL|ALTER\s+COLUMN|ADD\s+CONSTRAINT|"
    r"CREATE\s+(CONSTRAINT\s+)?TRIGGER|OR\s+REPLACE|ALTER\s+FUNCTION|REVOKE|ROW\s+LEVEL\s+SECURITY)\b",
    re.IGNORECASE,
)


def faults_of(*, migration: Migration, before: ProjectState) -> list[str]:
    """Return what in a migration is not merely added, each as a sentence; `before` is the state that it changes."""
    state = before.clone()
    new: set[tuple[str, str | None]] = set()
    faults: list[str] = []
    for operation in migration.operations:
        after = state.clone()
        operation.state_forwards(migration.app_label, after)
        faults += _faults_of(operation, migration.app_label, state, after, new)
        state = after
    return faults


def _faults_of(
    operation: Operation,
    app: str,
    before: ProjectState,
    after: ProjectState,
    new: set[tuple[str, str | None]],
) -> Iterator[str]:
    name = type(operation).__name__
    match operation:
        case acts.SeparateDatabaseAndState():
            for inner in operation.database_operations:
                yield from _faults_of(inner, app, before, after, new)
        case acts.CreateModel():
            new.add((operation.name_lower, None))
        case acts.AddField():
            new.add((operation.model_name_lower, operation.name_lower))
            if (operation.model_name_lower, None) not in new and not _may_be_left_out(operation.field):
                yield (
                    f"AddField {operation.model_name}.{operation.name}: old processes insert rows without it. "
                    "Give it a db_default, or let it be null."
                )
        case acts.AlterField():
            model = operation.model_name_lower
            old, field = (
                state.apps.get_model(app, model)._meta.get_field(operation.name) for state in (before, after)
            )
            if (model, None) not in new and (why := _narrower(old, field)):
                yield f"AlterField {operation.model_name}.{operation.name}: {why}."
        case acts.AddConstraint():
            of = (operation.model_name_lower, None)
            named = {(operation.model_name_lower, field) for field in _fields_of(operation.constraint)}
            if of not in new and not (named and named <= new):
                yield (
                    f"AddConstraint {operation.constraint.name}: old processes may write what it refuses. Add it in "
                    "the release after the one that no longer writes so."
                )
        case acts.RunSQL():
            if found := NARROWS.search(_text_of(operation.sql)):
                yield f"RunSQL with {found[0].upper()}: say in the list why old processes survive it."
        case acts.RunPython():
            yield "RunPython: nobody can see what it changes. Say in the list why old processes survive it."
        case _ if isinstance(operation, TAKES_AWAY):
            yield f"{name} ({operation.describe()}): old processes still use it. Do it one release later."


def _may_be_left_out(field: models.Field) -> bool:
    """Tell whether a row may be inserted by somebody who does not know this column."""
    return field.null or field.has_db_default() or field.many_to_many or field.generated


def _narrower(old: models.Field, new: models.Field) -> str:
    """Say in what a column takes less than it did; nothing where it takes as much."""
    if old.null and not new.null:
        return "it is no longer null"
    if old.has_db_default() and not new.has_db_default() and not new.null:
        return "it has no default in the database any more"
    if new.unique and not old.unique:
        return "it is unique now"
    if (was := old.db_parameters(connection)["type"]) != (now := new.db_parameters(connection)["type"]):
        is_longer = isinstance(old, models.CharField) and (
            type(new) is models.TextField
            or (isinstance(new, models.CharField) and (new.max_length or 10**9) >= (old.max_length or 10**9))
        )
        if not is_longer:
            return f"its type was {was} and is {now}"
    return ""


def _fields_of(constraint: models.BaseConstraint) -> set[str]:
    """Return the columns that a constraint is about, in lower case."""
    if isinstance(constraint, models.CheckConstraint):
        return {str(name).split("__")[0].lower() for name, _ in _terms_of(constraint.condition)}
    return {name.lower() for name in getattr(constraint, "fields", ())}


def _terms_of(condition: object) -> Iterator[tuple[str, object]]:
    for child in getattr(condition, "children", ()):
        if isinstance(child, tuple):
            yield child
        else:
            yield from _terms_of(child)


def _text_of(sql: str | Sequence[object]) -> str:
    """Return the words of RunSQL as one text, without what is commented out."""
    parts = [sql] if isinstance(sql, str) else [part[0] if isinstance(part, tuple) else part for part in sql]
    return re.sub(r"--[^\n]*", "", "\n".join(str(part) for part in parts))
