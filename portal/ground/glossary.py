"""
The words of the field, each with what it means: the one place for pages, the glossary and the guides (pure).

A page explains the words that it uses once, at its end; `used_in` finds them in what it says.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class Word:
    """A word, what it means, and the other forms in which pages write it; capital letters do not count."""

    term: str
    meaning: str
    forms: Sequence[str] = field(default=())

    @cached_property
    def anchor(self) -> str:
        """Return what the glossary calls its place."""
        return re.sub("[^a-z0-9]+", "-", self.term.lower()).strip("-")

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Return what finds it in text of small letters: in any of its forms, alone or in the plural."""
        forms = "|".join(re.escape(form.lower()) for form in (self.term, *self.forms))
        return re.compile(rf"\b(?:{forms})s?\b")

    @cached_property
    def stems(self) -> Sequence[str]:
        """Return of what one has to stand in a text for the word to be there: found faster than the pattern."""
        return [form.lower() for form in (self.term, *self.forms)]


WORDS: Sequence[Word] = (
    Word(
        "Activation",
        "The hub switches to the image that it holds, and restarts. This is what a slot is for.",
        ("activate", "activated", "activating"),
    ),
    Word(
        "Availability period",
        "From when to when a release may be deployed on a network. DCC sets it, one for each network.",
        ("availability",),
    ),
    Word(
        "Booking",
        "One act of one Supplier: this release, these hubs, these slots. Its reference looks like BK-7F3K-92QD.",
    ),
    Word(
        "Cancelled",
        "Taken out of its slot before it was activated: by whoever booked it, by an objection, or because the release "
        "was withdrawn.",
    ),
    Word(
        "Change of Supplier",
        "Another Supplier takes a home over, at midnight of a day that is known ahead. What is booked for its hub goes "
        "over with it.",
    ),
    Word(
        "CHF ID",
        "The name of a hub's Communications Hub Function: 16 hexadecimal digits, such as 00-DB-12-34-56-78-90-A0. "
        "It is how pages and files name a hub.",
    ),
    Word(
        "Consent",
        "The other Supplier's answer about hubs that it shares. Silence until the end of the objection window is "
        "consent, but for slots that are near, which need a word.",
    ),
    Word(
        "CPL Entry ID",
        "The number of an image in the Certified Products List. It says which firmware a release is.",
        ("CPL entry",),
    ),
    Word(
        "Cut-off",
        "The last moment at which hubs can be booked into a slot, moved, or cancelled.",
        ("change until",),
    ),
    Word(
        "Default allocation",
        "On a day in the period DCC books the hubs that nobody booked, evenly over what is left. They can be moved "
        "until their cut-off.",
        ("allocate", "allocated", "allocation"),
    ),
    Word(
        "Deployment",
        "One release bound for one hub. It belongs to a booking, or to DCC's default allocation.",
    ),
    Word(
        "Evidence",
        "How strongly the outcomes so far speak against a release. At its limit the release is halted by itself.",
    ),
    Word(
        "Exception",
        "A hub that needs a decision of DCC's: it has no clear slot, was missed twice, or failed.",
    ),
    Word(
        "Failed",
        "The hub answered that it did not take the image, or runs another version. The reason is on its page.",
    ),
    Word(
        "Fair share",
        "The part of each slot that is kept for a Supplier, by its hubs on the network. From the fair-share day on it "
        "is first come, first served.",
    ),
    Word(
        "Firmware release",
        "One image for one family of hub models, signed off by two people and published for a period.",
        ("release",),
    ),
    Word(
        "Halt",
        "A stop on a release, or on one network or model of it. From then on no hub is told anything.",
        ("halted",),
    ),
    Word(
        "Held",
        "Its release is halted. The hub waits, in its slot if that comes in time, until two people resume the release.",
    ),
    Word(
        "Hub",
        "A Communications Hub: the box in a home that connects its meters to the network.",
        ("Communications Hub",),
    ),
    Word(
        "Hub group",
        "A list of hubs that a Supplier keeps under a name, to book or protect them together.",
        ("group",),
    ),
    Word(
        "Lead Supplier",
        "The Supplier that books for a hub: that of the electricity import where an electricity meter is "
        "commissioned, otherwise that of the gas.",
    ),
    Word("Maintenance", "A span in which DCC closes a network: nothing is activated on it."),
    Word(
        "Missed",
        "The hub could not be reached in its slot. It is handed back, to be booked again; after two misses DCC "
        "decides.",
    ),
    Word(
        "Network",
        "The radio network that carries a region's messages: North, Central, South, or 4G. Room in slots belongs to "
        "it.",
    ),
    Word("Notice", "An e-mail that is owed. None is lost, and DCC can read each as it was sent."),
    Word(
        "Objection",
        "The other Supplier says that a slot does not suit a shared hub, and why. The hub goes to the next slot that "
        "is clear for both, or back to its Lead Supplier.",
        ("object", "objected"),
    ),
    Word(
        "Other Supplier",
        "A hub's second Supplier, where electricity and gas are not of the same one.",
    ),
    Word(
        "Predecessor", "A version over which a release may be installed. Other hubs need a release before it."
    ),
    Word(
        "Proposal",
        "An act on so many hubs that a colleague has to agree to it. Until then it holds no places.",
    ),
    Word(
        "Protected window",
        "A span in which a Supplier's hubs, or some of them, must not be touched. A hard one refuses; a soft one "
        "warns.",
        ("window",),
    ),
    Word(
        "Provisional",
        "Booked for a hub that another Supplier shares, which may still object.",
    ),
    Word(
        "Shared hub",
        "A hub with two Suppliers, one for electricity and one for gas. The Lead Supplier books, the other is asked.",
    ),
    Word("Sign-off", "A second person's agreement, which is recorded.", ("sign off", "signed off")),
    Word(
        "Slot",
        "A network, a start and an end, with room for so many hubs, whatever their release.",
    ),
    Word(
        "Stage",
        "The first hubs of a release, so many of each model. The next, larger stage opens when these are well.",
    ),
    Word(
        "Staging",
        "The image is sent to the hub ahead of its slot. Nobody in the home notices it.",
        ("staged",),
    ),
    Word("Succeeded", "The hub was asked for its version after its activation, and it is the new one."),
    Word("Supplier", "An energy company that books for its customers' hubs."),
    Word(
        "Unconfirmed",
        "The hub was told to activate, and neither its answer nor its version has come. It is asked again.",
    ),
)
"""In the order of the alphabet. No meaning explains a word by itself."""
IN_BETWEEN = re.compile(r"<(?:script|style|svg|textarea|select)\b.*?</|<[^>]*>", re.DOTALL)
"""What of a page is not read: tags, and what stands in elements that show no words of ours."""


def used_in(page: str, /) -> list[Word]:
    """Return the words that a page, or a part of one, uses in what it shows; `page` is HTML."""
    text = IN_BETWEEN.sub(" ", page).lower()
    return [word for word in WORDS if any(stem in text for stem in word.stems) and word.pattern.search(text)]


def table() -> str:
    """Return the words as a table in Markdown, as the guides show them."""
    rows = (f"| {word.term} | {word.meaning} |" for word in WORDS)
    return "\n".join(["| word | means |", "|---|---|", *rows])
