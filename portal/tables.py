"""The lists of a Supplier's people, as the other lists are written."""

import django_tables2 as tables

from scheduling.tables import ONE_LINE, ListTable, cell


def written(name: str, **options: object) -> tables.TemplateColumn:
    """Make a column that is written by `templates/portal/cells/<name>.html`."""
    return tables.TemplateColumn(template_name=f"portal/cells/{name}.html", **options)


class PeopleTable(ListTable):
    """People, each a `portal.models.User`."""

    name = written("person", accessor="pk", verbose_name="Name")
    email = tables.Column(verbose_name="E-mail address")
    role = tables.Column(accessor="get_role_display")
    status = written("has_access", accessor="is_active", verbose_name="Access")
    last_login = cell("moment", verbose_name="Last sign-in", default="never")


class InvitationTable(ListTable):
    """Invitations that nobody has accepted, each with whether its link works."""

    email = written("invited", accessor="0", verbose_name="E-mail address")
    role = tables.Column(accessor="0__get_role_display")
    by = tables.Column(accessor="0__inviter", verbose_name="Invited by")
    at = cell("moment", accessor="0__invited_at", verbose_name="Invited")
    until = written("link_works", accessor="1", verbose_name="Link")


class RecordTable(ListTable):
    """What people did, each a `portal.queries.Deed`."""

    recorded_at = cell("moment", verbose_name="When", attrs=ONE_LINE)
    who = tables.Column(attrs=ONE_LINE)
    email = tables.Column(verbose_name="E-mail address")
    acting_as = tables.Column(verbose_name="Acting as", attrs=ONE_LINE, default="–", empty_values=("", None))
    what = tables.Column()
    subject = tables.Column(verbose_name="About")
    reason = tables.Column(default="–", empty_values=("", None))
