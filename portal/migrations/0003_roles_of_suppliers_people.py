from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

ROLES = [("administrator", "Administrator"), ("operations", "Operations"), ("read-only", "Read-only")]


def keep_what_they_may(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Let administrators stay administrators; everybody else of a Supplier could do all but invite."""
    for name in ("User", "Invitation"):
        of_suppliers = apps.get_model("portal", name)._base_manager.filter(supplier__isnull=False)
        of_suppliers.filter(is_supplier_administrator=True).update(role="administrator")
        of_suppliers.filter(is_supplier_administrator=False).update(role="operations")


def keep_administrators(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for name in ("User", "Invitation"):
        apps.get_model("portal", name)._base_manager.filter(role="administrator").update(
            is_supplier_administrator=True
        )


class Migration(migrations.Migration):
    dependencies = [
        ("portal", "0002_heartbeats"),
    ]

    operations = [
        migrations.AddField(
            model_name="user",
            name="role",
            field=models.CharField(
                blank=True,
                choices=ROLES,
                default="",
                help_text="What a Supplier's person may do.",
                max_length=13,
            ),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="invitation",
            name="role",
            field=models.CharField(
                blank=True,
                choices=ROLES,
                default="",
                help_text="For a Supplier's people: what they may do.",
                max_length=13,
            ),
            preserve_default=False,
        ),
        migrations.RunPython(keep_what_they_may, keep_administrators),
        migrations.RemoveConstraint(model_name="user", name="user_supplier_administrator_has_supplier"),
        migrations.RemoveField(model_name="user", name="is_supplier_administrator"),
        migrations.RemoveField(model_name="invitation", name="is_supplier_administrator"),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.CheckConstraint(
                condition=models.Q(("role", ""), ("supplier", None))
                | models.Q(
                    ("role__in", ["administrator", "operations", "read-only"]), ("supplier__isnull", False)
                ),
                name="user_of_a_supplier_has_a_role",
                violation_error_message="A person of a Supplier has a role, and nobody else has.",
            ),
        ),
        migrations.AddConstraint(
            model_name="invitation",
            constraint=models.CheckConstraint(
                condition=models.Q(("role", ""), ("supplier", None))
                | models.Q(
                    ("role__in", ["administrator", "operations", "read-only"]), ("supplier__isnull", False)
                ),
                name="invitation_to_a_supplier_has_a_role",
                violation_error_message="A place with a Supplier has a role, and no other place has.",
            ),
        ),
    ]
