from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps


def let_release_managers_go_on(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Give who managed releases what was split off from that, so that somebody can decide after the upgrade."""
    Group = apps.get_model("auth", "Group")
    managers = Group.objects.filter(name="DCC release managers").first()
    if managers is not None:
        operations, _ = Group.objects.get_or_create(name="DCC operations")
        operations.user_set.add(*managers.user_set.all())


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("portal", "0003_roles_of_suppliers_people"),
    ]

    operations = [migrations.RunPython(let_release_managers_go_on, migrations.RunPython.noop)]
