"""Migrations beside running old workers: they merely add, or somebody has said why it does no harm."""

from typing import Any

import pytest
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState

from tests.portal.migrations import faults_of

OURS = ("ground", "hubs", "modelled_fleet", "firmware", "scheduling", "portal")
BEFORE_THE_FIRST_RELEASE = {
    "ground": 2,
    "hubs": 6,
    "modelled_fleet": 2,
    "firmware": 5,
    "scheduling": 22,
    "portal": 4,
}
"""The last migration of each app that no old process can run beside: nothing had been released. Raise it until then."""
HARMLESS: dict[tuple[str, str], str] = {
    ("portal", "0007_row_level_security"): (
        "Old processes log in as the owner, for whom each policy lets everything through, and no column changes."
    ),
    ("portal", "0010_walls_of_proposals"): (
        "The tables are new, and no old process knows them: until it is gone it asks nobody for a second person."
    ),
    ("portal", "0012_walls_of_first_steps"): "The table is new, and no old process knows it.",
    ("portal", "0014_walls_of_saved_filters"): "The table is new, and no old process knows it.",
    ("portal", "0013_walls_of_exports"): "The table is new, and no old process knows it.",
    ("firmware", "0006_halts_with_their_numbers"): (
        "The column has a default for whoever does not name it, and rates beyond a third were never used: an old form "
        "that wrote one would answer with an error, and nothing would be lost."
    ),
    ("firmware", "0007_halts_of_parts"): (
        "Old pages cannot sign a resumption off meanwhile, and say so with an error; nothing is lost. Old workers know "
        "no halt of a part, so none can be made before the new pages are up, which come after the new workers."
    ),
    ("portal", "0006_epochs_of_sessions"): (
        "The triggers raise a number that no old process reads, and refuse nothing."
    ),
    ("ground", "0007_decisions_name_the_role"): (
        "The column has a default for whoever does not name it. An old worker that would chain a decision with a role "
        "without it is refused and says so; the decision waits for a new worker, which is up soon, and nothing is lost."
    ),
    ("ground", "0008_purges_of_decisions"): (
        "No old process has the right to delete decisions, and none ever did. Whoever tries is refused as before, but "
        "for what was purged, which a new command does alone."
    ),
    ("portal", "0009_roles_apart"): (
        "Old pages refuse the same before they ask the database. Whoever has such roles already keeps them."
    ),
    ("portal", "0008_nobody_purges"): "It takes rights to a table away that no old process knows.",
    ("ground", "0004_audit_chain"): (
        "What an old process records is taken down by the trigger as well, and waits for a new one to chain it. No old "
        "process knows the links, whose trigger refuses changes."
    ),
    ("scheduling", "0034_evidence_by_stage"): (
        "The constraint is of the same columns in another order, and whoever writes names the columns. Between the two "
        "the table is locked."
    ),
    ("scheduling", "0041_outcomes_by_day"): (
        "The function counts what it did, and says more beside it, in columns that may be empty. Old workers take "
        "changes up as before, and the trigger sees them go, whoever takes them. Deployments wait while they are read."
    ),
    ("portal", "0011_walls_of_outcomes"): (
        "Old processes log in as the roles for which the policies are true; a Supplier's people read neither table by "
        "them."
    ),
    ("scheduling", "0033_late_looks"): (
        "The trigger adds rows to a table of its own and refuses nothing. While only old workers live nobody looks at "
        "them; the first new one does."
    ),
    ("scheduling", "0024_signs_and_evidence"): (
        "The trigger adds rows to a table of its own and refuses nothing. An old process writes no silence, so it "
        "counts none."
    ),
    ("scheduling", "0025_bad_hubs_by_their_command"): (
        "Nobody but the trigger writes signs, and it is replaced in the same transaction."
    ),
    (
        "scheduling",
        "0027_first_hubs",
    ): "The function counts what begins as before, and adds rows that only new code reads.",
    ("scheduling", "0029_bad_hubs_one_by_one"): (
        "The trigger writes to a table of its own beside what it wrote before, and refuses nothing more."
    ),
}
"""Migrations that do more than add, by app and name, each with the reason why old processes survive."""


@pytest.fixture(scope="module")
def loader() -> MigrationLoader:
    return MigrationLoader(None)


class TestOurMigrations:
    def test_merely_add_or_say_why_it_does_no_harm(self, loader: MigrationLoader) -> None:
        faults = {}
        for (app, name), migration in loader.disk_migrations.items():
            if app not in OURS or int(name[:4]) <= BEFORE_THE_FIRST_RELEASE[app] or (app, name) in HARMLESS:
                continue
            before = loader.project_state((app, name), at_end=False)
            if found := faults_of(migration=migration, before=before):
                faults[app, name] = found
        assert not faults, (
            "Not safe beside processes of the version before. Change it as it says, or list it with the reason in "
            f"HARMLESS (before the first release: raise the number): {faults}"
        )

    def test_are_listed_only_where_they_exist(self, loader: MigrationLoader) -> None:
        assert set(HARMLESS) <= set(loader.disk_migrations)
        assert all(len(reason) > 20 for reason in HARMLESS.values())
        apps = {
            app
            for app, migration in loader.disk_migrations
            if not loader.disk_migrations[app, migration].__module__.startswith(("django.", "allauth."))
        }
        assert apps == set(OURS) == set(BEFORE_THE_FIRST_RELEASE)


class TestFaultsOf:
    """What the check sees, on a table of two columns."""

    def faults(self, *operations: Operation) -> list[str]:
        state = ProjectState()
        state.add_model(
            ModelState(
                "desk",
                "Lamp",
                [
                    ("id", models.BigAutoField(primary_key=True)),
                    ("name", models.CharField(max_length=20)),
                    ("watts", models.IntegerField(null=True)),
                    ("kind", models.CharField(max_length=5, default="a", db_default="a")),
                ],
            )
        )
        migration = migrations.Migration("0002_more", "desk")
        migration.operations = list(operations)
        return faults_of(migration=migration, before=state)

    @pytest.mark.parametrize(
        "operation",
        [
            migrations.AddField("lamp", "shade", models.CharField(max_length=5, null=True)),
            migrations.AddField("lamp", "shade", models.IntegerField(default=1, db_default=1)),
            migrations.AddIndex("lamp", models.Index(fields=["name"], name="by_name")),
            migrations.RemoveIndex("lamp", "by_name"),
            migrations.AlterField("lamp", "name", models.CharField(max_length=30)),
            migrations.AlterField("lamp", "name", models.TextField()),
            migrations.AlterField("lamp", "name", models.CharField(max_length=20, choices=[("a", "A")])),
            migrations.CreateModel("Desk", [("id", models.BigAutoField(primary_key=True))]),
            migrations.RunSQL("CREATE INDEX by_watts ON desk_lamp (watts) -- DROP nothing"),
        ],
        ids=lambda operation: operation.describe(),
    )
    def test_lets_pass_what_merely_adds(self, operation: Operation) -> None:
        if isinstance(operation, migrations.RemoveIndex):
            index = migrations.AddIndex("lamp", models.Index(fields=["name"], name="by_name"))
            assert self.faults(index, operation) == []
        else:
            assert self.faults(operation) == []

    @pytest.mark.parametrize(
        ("operation", "words"),
        [
            (migrations.AddField("lamp", "shade", models.IntegerField(default=1)), "insert rows without it"),
            (migrations.RemoveField("lamp", "watts"), "still use it"),
            (migrations.RenameField("lamp", "watts", "power"), "still use it"),
            (migrations.DeleteModel("Lamp"), "still use it"),
            (migrations.RenameModel("Lamp", "Light"), "still use it"),
            (migrations.AlterField("lamp", "watts", models.IntegerField(default=1)), "no longer null"),
            (migrations.AlterField("lamp", "name", models.CharField(max_length=10)), "its type was"),
            (migrations.AlterField("lamp", "watts", models.SmallIntegerField(null=True)), "its type was"),
            (migrations.AlterField("lamp", "name", models.CharField(max_length=20, unique=True)), "unique"),
            (
                migrations.AlterField("lamp", "kind", models.CharField(max_length=5, default="a")),
                "no default in the database",
            ),
            (
                migrations.AddConstraint("lamp", models.UniqueConstraint(fields=["name"], name="once")),
                "may write what it refuses",
            ),
            (
                migrations.AddConstraint(
                    "lamp", models.CheckConstraint(condition=models.Q(watts__gt=1), name="lit")
                ),
                "may write what it refuses",
            ),
            (migrations.RunSQL("ALTER TABLE desk_lamp DROP COLUMN watts"), "DROP"),
            (migrations.RunSQL([("alter table desk_lamp rename watts to power", [])]), "RENAME"),
            (migrations.RunSQL("CREATE TRIGGER lit BEFORE INSERT ON desk_lamp"), "CREATE TRIGGER"),
            (migrations.RunPython(migrations.RunPython.noop), "RunPython"),
            (
                migrations.SeparateDatabaseAndState([migrations.RunSQL("DROP TABLE desk_lamp")]),
                "DROP",
            ),
        ],
    )
    def test_names_what_takes_away_renames_or_narrows(self, operation: Operation, words: str) -> None:
        [fault] = self.faults(operation)
        assert words in fault

    def test_lets_a_constraint_come_with_its_column(self) -> None:
        column: Any = models.IntegerField(null=True)
        check = models.CheckConstraint(condition=models.Q(shade__gt=1) | models.Q(shade=None), name="shaded")
        assert (
            self.faults(migrations.AddField("lamp", "shade", column), migrations.AddConstraint("lamp", check))
            == []
        )
