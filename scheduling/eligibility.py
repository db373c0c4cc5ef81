"""Why a hub may not be booked: one named reason each, in the reader's words, with the way forward."""

from django.db.models import IntegerChoices


class Refusal(IntegerChoices):
    """The reasons, in the order in which they are asked: the first that holds is the one given."""

    NO_IDENTIFIER = 31, "No identifier in this row"
    TOO_LONG = 32, "Too long for a row of identifiers"
    SHORTENED = 33, "Digits lost: a spreadsheet shortened the number"
    UNREADABLE = 1, "Not a CHF ID, MPAN or MPRN"
    REPEATED = 2, "Named more than once"
    NOT_FOUND = 3, "Not one of your hubs"
    SEVERAL_HUBS = 34, "More than one of your hubs"
    NOT_LEAD = 4, "The other Supplier books this hub"
    STATUS = 5, "Status does not allow it"
    OTHER_MODEL = 6, "Another hub model"
    OTHER_HARDWARE = 7, "Another hardware version"
    INSTALLED = 8, "Runs this version already"
    VERSION_GAP = 9, "Installed version is not a predecessor"
    NO_PERIOD = 10, "Not available on its network"
    OPEN_DEPLOYMENT = 11, "Already booked"
    HALTED = 12, "Halted for hubs like this one"

    @property
    def way_forward(self) -> str:
        """What the Supplier can do about it."""
        return _WAY_FORWARD[self]


_WAY_FORWARD = {
    Refusal.NO_IDENTIFIER: "Put a CHF ID, an MPAN or an MPRN into the column of identifiers.",
    Refusal.TOO_LONG: "Put one hub into each row, with fewer than 4,096 characters.",
    Refusal.SHORTENED: "Give the column the format “text” before the numbers go in, then fill it and upload it again.",
    Refusal.UNREADABLE: (
        "Give a CHF ID of 16 hexadecimal digits, such as 00-DB-12-34-56-78-90-A0, an MPAN of 13 digits or "
        "an MPRN of 6 to 10."
    ),
    Refusal.REPEATED: "Nothing to do: the first mention counts.",
    Refusal.NOT_FOUND: "Check the identifier against your inventory.",
    Refusal.SEVERAL_HUBS: "Name the hub that you mean by its CHF ID.",
    Refusal.NOT_LEAD: "You are the hub's gas Supplier: its electricity import Supplier books.",
    Refusal.STATUS: "Book once the hub is Commissioned, or Suspended.",
    Refusal.OTHER_MODEL: "This release is for other hub models; see its page.",
    Refusal.OTHER_HARDWARE: "This release is for other hardware versions; see its page.",
    Refusal.INSTALLED: "Nothing to do.",
    Refusal.VERSION_GAP: "First book a release that leads to one of this release's predecessors.",
    Refusal.NO_PERIOD: "Wait for DCC to set an availability period for the hub's network.",
    Refusal.HALTED: "Wait until DCC resumes it for this network, hub model or installed version; see its page.",
    Refusal.OPEN_DEPLOYMENT: "Cancel the other booking first, or leave the hub there.",
}
