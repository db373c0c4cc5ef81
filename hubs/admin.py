"""The small tables of the fleet: networks, Suppliers, hub models, versions; and the changes of supplier."""

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from hubs.identifiers import InvalidIdentifier, format_eui64, parse_eui64
from hubs.models import ChangeOfSupplier, FirmwareVersion, HubModel, Network, Supplier
from portal.ground.recorded import RecordedAdmin

MAY_RULE = "portal.change_user"


@admin.register(Network)
class NetworkAdmin(RecordedAdmin[Network]):
    """The carriers."""

    list_display = ("name", "code", "carrier")
    ordering = ("pk",)


@admin.register(Supplier)
class SupplierAdmin(RecordedAdmin[Supplier]):
    """The energy companies, with their participant IDs."""

    list_display = ("name", "import_participant_id", "gas_participant_id")
    search_fields = ("name", "import_participant_id", "gas_participant_id")
    ordering = ("name",)

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """Lead to the rule those alone who may change it."""
        rule = "second_factor" if request.user.has_perm(MAY_RULE) else "second_factor_rule"
        return (*self.list_display, rule)

    @admin.display(description="second factor", ordering="second_factor_required")
    def second_factor(self, supplier: Supplier) -> SafeString:
        """Say whether its people need one, and lead to where that is changed."""
        return format_html(
            '<a href="{}">{}</a>',
            reverse("second-factor-of-supplier", args=[supplier.pk]),
            self.second_factor_rule(supplier),
        )

    @admin.display(description="second factor", ordering="second_factor_required")
    def second_factor_rule(self, supplier: Supplier) -> str:
        """Say it to everybody else."""
        return "Required" if supplier.second_factor_required else "Up to each person"


class HexadecimalNumber(forms.CharField):
    """A 16-bit code, typed and shown as four hexadecimal digits, as the CPL does."""

    def prepare_value(self, value: object) -> object:
        """Show the digits."""
        return f"{value:04X}" if isinstance(value, int) else value

    def clean(self, value: object) -> int:
        """Read the number."""
        text = super().clean(value)
        if len(text) != 4 or set(text.lower()) - set("0123456789abcdef"):
            raise forms.ValidationError(f"“{text}” is not 4 hexadecimal digits (0–9, A–F).")
        return int(text, 16)


class HubModelForm(forms.ModelForm[HubModel]):
    """A hub model, with its codes as an image header names them."""

    manufacturer = HexadecimalNumber(label="Manufacturer code", help_text="4 hexadecimal digits")
    image_type = HexadecimalNumber(label="Image type", help_text="4 hexadecimal digits")

    class Meta:
        model = HubModel
        fields = ("name", "manufacturer_name", "manufacturer", "image_type")


@admin.register(HubModel)
class HubModelAdmin(RecordedAdmin[HubModel]):
    """
    The hub models, with the codes that an image header names.

    The codes are never changed: images were checked against them.
    """

    def get_readonly_fields(self, request: HttpRequest, obj: HubModel | None = None) -> tuple[str, ...]:
        """Leave the codes to the first entry."""
        return () if obj is None else ("manufacturer", "image_type")

    form = HubModelForm
    list_display = ("name", "manufacturer_name", "manufacturer_shown", "image_type_shown")
    search_fields = ("name", "manufacturer_name")
    ordering = ("name",)

    @admin.display(description="manufacturer code", ordering="manufacturer")
    def manufacturer_shown(self, model: HubModel) -> str:
        """Show the code as the CPL does."""
        return f"{model.manufacturer:04X}"

    @admin.display(description="image type", ordering="image_type")
    def image_type_shown(self, model: HubModel) -> str:
        """Show the type as the CPL does."""
        return f"{model.image_type:04X}"


@admin.register(FirmwareVersion)
class FirmwareVersionAdmin(admin.ModelAdmin[FirmwareVersion]):
    """The versions that hubs run or may run; they come with releases and inventories."""

    list_display = ("__str__", "number")
    ordering = ("number",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Say no: a version comes with the release or the inventory that names it."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: FirmwareVersion | None = None) -> bool:
        """Say no: hubs carry it."""
        return False


class IsAhead(admin.SimpleListFilter):
    """Changes that are ahead, and changes that have taken effect."""

    title = "in effect"
    parameter_name = "in_effect"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        """Offer the two."""
        return [("no", "Ahead"), ("yes", "In effect")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[ChangeOfSupplier]
    ) -> QuerySet[ChangeOfSupplier]:
        """Keep those of the chosen kind."""
        return queryset.filter(applied_at__isnull=self.value() == "no") if self.value() else queryset


@admin.register(ChangeOfSupplier)
class ChangeOfSupplierAdmin(admin.ModelAdmin[ChangeOfSupplier]):
    """The changes of supplier: a list that imports alone write, and nobody else changes."""

    list_display = ("hub_shown", "role", "gaining", "effective_on", "imported_at", "applied_at")
    list_filter = (IsAhead, "role")
    list_select_related = ("gaining",)
    list_per_page = 50
    # many millions in some years: no page counts them all
    show_full_result_count = False
    search_fields = ("hub",)
    search_help_text = "A CHF ID: 16 hexadecimal digits"
    ordering = ("-pk",)
    fields = ("hub_shown", "role", "gaining", "effective_on", "imported_at", "applied_at")
    readonly_fields = fields

    @admin.display(description="hub", ordering="hub")
    def hub_shown(self, change: ChangeOfSupplier) -> str:
        """Write the CHF ID as people do."""
        return format_eui64(change.hub)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ChangeOfSupplier], search_term: str
    ) -> tuple[QuerySet[ChangeOfSupplier], bool]:
        """Find a hub by its CHF ID, however it is written; what is none finds nothing."""
        if not search_term.strip():
            return queryset, False
        try:
            return queryset.filter(hub=parse_eui64(search_term)), False
        except InvalidIdentifier:
            return queryset.none(), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Say no: changes come with an import of registrations."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: ChangeOfSupplier | None = None) -> bool:
        """Say no."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ChangeOfSupplier | None = None) -> bool:
        """Say no."""
        return False
