"""The small tables of the fleet: networks, Suppliers, hub models, versions."""

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from hubs.models import FirmwareVersion, HubModel, Network, Supplier


@admin.register(Network)
class NetworkAdmin(admin.ModelAdmin[Network]):
    """The carriers."""

    list_display = ("name", "code", "carrier")
    ordering = ("pk",)


@admin.register(Supplier)
class SupplierAdmin(admin.ModelAdmin[Supplier]):
    """The energy companies, with their participant IDs."""

    list_display = ("name", "import_participant_id", "gas_participant_id")
    search_fields = ("name", "import_participant_id", "gas_participant_id")
    ordering = ("name",)


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
class HubModelAdmin(admin.ModelAdmin[HubModel]):
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
