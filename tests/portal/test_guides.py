"""What the guides and the README show and lead to is there, and their words are the portal's."""

import re
from pathlib import Path

import pytest
from django.conf import settings

from portal.ground import glossary
from tests.screenshots.guides import PICTURES

DOCS = settings.BASE_DIR / "docs"
IMAGES = DOCS / "images"
GUIDES = (DOCS / "supplier-guide.md", DOCS / "dcc-guide.md")
DOCUMENTS = (settings.BASE_DIR / "README.md", *sorted(DOCS.glob("*.md")))
LEADS = re.compile(r"\]\((?!https?://)([^)\s]+)\)")
SHOWN = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
LARGEST = 150_000
"""Bytes."""


def without_code(document: Path) -> str:
    """Return what a document says outside of its blocks of code."""
    return re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)


def anchors(document: Path) -> set[str]:
    """Return what the headings of a document are called in addresses."""
    heads = re.findall(r"^#+ (.+)$", without_code(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def shown_in(document: Path) -> set[Path]:
    """Return the pictures that a document shows."""
    return {(document.parent / address).resolve() for _, address in SHOWN.findall(document.read_text())}


class TestPictures:
    def test_of_every_document_are_there_and_none_is_there_for_nothing(self) -> None:
        shown = {picture for document in DOCUMENTS for picture in shown_in(document)}

        assert shown == set(IMAGES.iterdir())

    def test_are_those_that_the_command_takes(self) -> None:
        assert {file.name for file in IMAGES.iterdir()} == {f"{picture.name}.png" for picture in PICTURES}

    def test_are_small(self) -> None:
        assert {file.name for file in IMAGES.iterdir() if file.stat().st_size > LARGEST} == set()

    def test_are_described_to_whoever_does_not_see_them(self) -> None:
        described = [words for document in DOCUMENTS for words, _ in SHOWN.findall(document.read_text())]

        assert [words for words in described if len(words) < 20] == []
        assert len(described) >= len(PICTURES)


class TestLinks:
    @pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
    def test_lead_to_what_is_there(self, document: Path) -> None:
        dead = []
        for lead in LEADS.findall(without_code(document)):
            place, _, anchor = lead.partition("#")
            target = (document.parent / place).resolve() if place else document
            if not target.exists() or (anchor and anchor not in anchors(target)):
                dead.append(lead)

        assert dead == []

    @pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
    def test_lead_from_the_readme_to_each_guide(self, guide: Path) -> None:
        assert f"](docs/{guide.name})" in DOCUMENTS[0].read_text()


class TestGuides:
    @pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
    def test_explain_the_words_as_the_pages_do(self, guide: Path) -> None:
        assert glossary.table() in guide.read_text()
