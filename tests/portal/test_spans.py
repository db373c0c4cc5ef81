"""The field that keeps a span as its words."""

import pytest
from django.core.exceptions import ValidationError

from firmware.models import RolloutPolicy
from portal.ground.spans import SpanField
from portal.ground.uk_time import Span


class TestSpanField:
    def test_keeps_the_words_and_gives_back_the_span(self):
        field = SpanField()

        assert field.get_prep_value(Span(2, "working days")) == "2 working days"
        assert field.from_db_value("2 working days", None, None) == Span(2, "working days")

    def test_takes_words_wherever_a_span_is_taken(self):
        assert SpanField().get_prep_value("72  hours") == "72 hours"
        assert SpanField(default="3 minutes").get_default() == Span(3, "minutes")

    def test_is_a_span_as_soon_as_words_are_assigned(self):
        policy = RolloutPolicy(grace="30 minutes")
        assert policy.grace == Span(30, "minutes")
        policy.grace = "2 hours"
        assert policy.grace == Span(2, "hours")

    def test_leaves_nothing_as_nothing(self):
        field = SpanField(null=True)

        assert (
            field.get_prep_value(None)
            is field.to_python(None)
            is field.from_db_value(None, None, None)
            is None
        )

    def test_refuses_other_words_as_a_form_does(self):
        with pytest.raises(ValidationError, match="a whole number and a unit"):
            SpanField().clean("a fortnight", None)

    def test_cleans_what_a_form_sends(self):
        form_field = SpanField().formfield()

        assert SpanField().clean(form_field.clean(" 5 working days "), None) == Span(5, "working days")

    def test_is_remade_by_a_migration_as_it_was(self):
        _, path, args, options = SpanField("notice", default="20 working days").deconstruct()

        assert path == "portal.ground.spans.SpanField"
        assert SpanField(*args, **options).get_default() == Span(20, "working days")
