"""Tests of the words of the field: in their one place, in the glossary, and on every page that uses them."""

import html
import re

import pytest
from django.test import Client
from django.urls import reverse

from portal.ground import glossary
from portal.ground.roles import DccRole
from portal.models import User
from tests.portal.every_page import NO_PAGES, of_everybody, of_suppliers
from tests.portal.matrix import Asker, Cast

EXPLAINED = re.compile(r'<details class="words">.*?</details>', re.DOTALL)
TERM = re.compile(r'<a href="/glossary/#([a-z0-9-]+)">([^<]+)</a>')


class TestWords:
    def test_are_in_the_order_of_the_alphabet_and_none_is_there_twice(self) -> None:
        terms = [word.term.lower() for word in glossary.WORDS]
        forms = [form.lower() for word in glossary.WORDS for form in (word.term, *word.forms)]

        assert terms == sorted(terms)
        assert len(forms) == len(set(forms))
        assert len({word.anchor for word in glossary.WORDS}) == len(terms)

    def test_mean_something_in_whole_sentences(self) -> None:
        assert [word.term for word in glossary.WORDS if not re.fullmatch(r"[A-Z0-9].*\.", word.meaning)] == []

    def test_stand_in_a_table_for_the_guides(self) -> None:
        lines = glossary.table().splitlines()

        assert len(lines) == len(glossary.WORDS) + 2
        assert f"| Slot | {next(one.meaning for one in glossary.WORDS if one.term == 'Slot')} |" in lines


class TestUsedIn:
    @pytest.mark.parametrize(
        "page",
        ["<p>Two slots are left.</p>", "SLOT", "<td>slot</td>", "<p>a <strong>slot</strong>, then</p>"],
    )
    def test_finds_a_word_in_the_plural_in_capitals_and_between_tags(self, page: str) -> None:
        assert [word.term for word in glossary.used_in(page)] == ["Slot"]

    @pytest.mark.parametrize(
        "page",
        [
            '<a href="/slot/" class="slot" title="slot">x</a>',
            "<script>slot()</script>",
            "<option>none</option><select><option>slot</option></select>",
            "<p>Slotted</p>",
            "<p>leads to</p>",
        ],
    )
    def test_finds_none_where_nobody_reads_it(self, page: str) -> None:
        assert glossary.used_in(page) == []

    def test_finds_another_form_once(self) -> None:
        found = glossary.used_in("<p>Activated, activating, activation: the hub is activated.</p>")

        assert [word.term for word in found] == ["Activation", "Hub"]


class TestGlossaryPage:
    @pytest.mark.parametrize("who", ["northern read-only", DccRole.AUDITOR.value, "superuser"])
    def test_explains_every_word_once_to_everybody(self, who: str, asker: Asker) -> None:
        page = asker.clients[who].get(reverse("glossary")).content.decode()

        assert re.findall(r'<dt id="([^"]*)"', page) == [word.anchor for word in glossary.WORDS]
        assert "Words on this page" not in page
        for word in glossary.WORDS:
            assert word.meaning in html.unescape(page)

    def test_is_linked_from_every_page(self, client: Client, northern: User) -> None:
        client.force_login(northern)

        assert f'href="{reverse("glossary")}"' in client.get("/").content.decode().partition("<footer")[2]


class TestEveryPageOfASupplier:
    def test_explains_each_word_that_it_uses_once(self, cast: Cast, asker: Asker) -> None:
        asker.show_who_they_are(cast)
        client, found = asker.clients["northern administrator"], {}
        for name, address in (of_suppliers(cast) | of_everybody(cast)).items():
            if name in NO_PAGES or name == "glossary":
                continue
            page = client.get(address).content.decode()
            main = page.partition("<main")[2].partition("</main>")[0]
            used = [word.term for word in glossary.used_in(EXPLAINED.sub("", main))]
            explained = [html.unescape(term) for _, term in TERM.findall(main)]
            assert explained == used, name
            found[name] = explained

        assert len(found) > 30
        unexplained = {name for name, terms in found.items() if not terms and name.startswith("scheduling:")}
        assert unexplained == set()

    def test_explains_nothing_to_strangers(self, client: Client) -> None:
        assert "Words on this page" not in client.get("/accounts/login/").content.decode()
