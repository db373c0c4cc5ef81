"""What is done to the fleet's records: count them, bring in inventories and registrations, keep them true."""

from hubs.operations.counts import count_fleet
from hubs.operations.files import UnableToImport
from hubs.operations.inventories import INVENTORY_COLUMNS, import_inventory, record_versions
from hubs.operations.registrations import REGISTRATION_COLUMNS, import_registrations

__all__ = [
    "INVENTORY_COLUMNS",
    "REGISTRATION_COLUMNS",
    "UnableToImport",
    "count_fleet",
    "import_inventory",
    "import_registrations",
    "record_versions",
]
