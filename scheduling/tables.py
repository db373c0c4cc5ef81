"""One table for each list. They take lists, already fetched and cut to a page, and never count anything."""

from typing import Any

import django_tables2 as tables
from django.utils.html import format_html
from django.utils.safestring import SafeString

NUMBER = {"th": {"class": "number"}, "td": {"class": "number"}}


class ListTable(tables.Table):  # type: ignore[misc]  # without types
    """What the tables have in common: our markup, in the order in which the rows come."""

    class Meta:
        template_name = "scheduling/table.html"
        attrs = {"class": "table"}
        orderable = False


def hubs_column(**options: Any) -> tables.TemplateColumn:
    """Make a column for a number of hubs."""
    name = options.pop("accessor")
    return tables.TemplateColumn(
        "{% load humanize %}{{ value|intcomma }}", accessor=name, attrs=NUMBER, **options
    )


def moment_column(**options: Any) -> tables.TemplateColumn:
    """Make a column for a moment, in UK time."""
    return tables.TemplateColumn("{% load portal %}{{ value|moment }}", **options)


class BookingTable(ListTable):
    """A Supplier's bookings, each a `scheduling.views.bookings.Line`."""

    reference = tables.TemplateColumn(
        '<a class="eui64" href="{% url "scheduling:booking" record.booking.reference %}">'
        "{{ record.booking.reference }}</a>",
        verbose_name="Booking",
    )
    release = tables.Column(accessor="booking__release__name", verbose_name="Release")
    hubs = hubs_column(accessor="booking__hubs")
    progress = tables.TemplateColumn(template_name="scheduling/_bar.html", verbose_name="Progress")
    booked_at = moment_column(accessor="booking__created_at", verbose_name="Booked")
    by = tables.Column(accessor="booking__booked_by", verbose_name="By")

    class Meta(ListTable.Meta):
        sequence = ("reference", "release", "hubs", "progress", "booked_at", "by")


class SlotTable(ListTable):
    """The slots of a booking with their progress."""

    start_at = moment_column(verbose_name="Starts")
    end_at = tables.TemplateColumn("{% load portal %}{{ value|clock }}", verbose_name="Ends")
    network = tables.Column()
    hubs = hubs_column(accessor="progress__total")
    progress = tables.TemplateColumn(template_name="scheduling/_bar.html", verbose_name="Progress")
    change_until = moment_column(verbose_name="Can be cancelled until")


class PlannedSlotTable(ListTable):
    """The slots that a booking would use."""

    start_at = moment_column(verbose_name="Starts")
    end_at = tables.TemplateColumn("{% load portal %}{{ value|clock }}", verbose_name="Ends")
    network = tables.Column()
    hubs = hubs_column(accessor="hubs")
    change_until = moment_column(verbose_name="Can be cancelled until")


def hub_link_column(accessor: str) -> tables.TemplateColumn:
    """Make a column that shows a CHF ID and leads to its hub."""
    return tables.TemplateColumn(
        '{% load portal %}<a class="eui64" href="{% url "scheduling:hub" value %}">{{ value|eui64 }}</a>',
        accessor=accessor,
        verbose_name="CHF ID",
    )


class BookedHubTable(ListTable):
    """The hubs of a booking."""

    hub = hub_link_column("hub")
    network = tables.Column()
    slot_start = moment_column(verbose_name="Slot")
    state = tables.TemplateColumn("{% load portal %}{% state value %}")
    ending = tables.Column(accessor="ending__label", verbose_name="Why", default="–")
    moved_at = moment_column(verbose_name="Since")


class HubTable(ListTable):
    """A Supplier's hubs, each a `scheduling.views.hubs.Line`."""

    hub = hub_link_column("hub__chf_id")
    network = tables.Column(accessor="hub__network__name")
    model = tables.Column(accessor="hub__model__name", verbose_name="Model")
    installed_version = tables.Column(accessor="hub__installed_version", verbose_name="Installed")
    status = tables.Column(accessor="hub__get_status_display")
    payment_mode = tables.Column(accessor="hub__get_payment_mode_display", verbose_name="Payment")
    role = tables.Column(verbose_name="You are", accessor="role")
    deployment = tables.TemplateColumn(template_name="scheduling/_booked_in.html", verbose_name="Booked for")

    def render_installed_version(self, value: object) -> SafeString:
        """Show the version as the code that it is."""
        return format_html("<code>{}</code>", str(value))


class ShareTable(ListTable):
    """A Supplier's hubs of a release's models, by network, model and installed version."""

    network = tables.Column()
    model = tables.Column()
    version = tables.TemplateColumn(
        "<code>{{ value }}</code>", verbose_name="Installed version", accessor="version_text"
    )
    hubs = tables.TemplateColumn(
        '{% load humanize %}<a href="{{ record.address }}" aria-label="{{ value|intcomma }} hubs on '
        '{{ record.network }}, {{ record.model }}, version {{ record.version_text }}: list them">'
        "{{ value|intcomma }}</a>",
        attrs=NUMBER,
    )
    word = tables.Column(verbose_name="This release")
