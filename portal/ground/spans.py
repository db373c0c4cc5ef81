"""Spans of time as people state them, in settings and policies: "2 working days", "72 hours"."""

from contextlib import suppress
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.query_utils import DeferredAttribute

from portal.ground.uk_time import Span, UnreadableSpan


class _SpanAttribute(DeferredAttribute):
    """Keeps a `Span` also where its words are assigned, so that nobody ever meets the words."""

    field: "SpanField"

    def __set__(self, instance: models.Model, value: Any) -> None:
        # words that are no span stay as they are, for `full_clean` to name their field
        with suppress(ValidationError):
            value = self.field.to_python(value)
        instance.__dict__[self.field.attname] = value


class SpanField(models.Field[Span | str, Span]):
    """A `Span`, stored as its words."""

    descriptor_class = _SpanAttribute
    description = "A span such as “2 working days”"

    def get_internal_type(self) -> str:
        return "CharField"

    def __init__(self, verbose_name: str | None = None, **options: Any) -> None:
        options["max_length"] = 30
        super().__init__(verbose_name, **options)

    def deconstruct(self) -> Any:
        name, path, args, options = super().deconstruct()
        del options["max_length"]
        return name, path, args, options

    def get_default(self) -> Span | None:
        return self.to_python(super().get_default())

    def from_db_value(self, value: str | None, _expression: object, _connection: object) -> Span | None:
        return None if value is None else Span.parse(value)

    def to_python(self, value: Any) -> Span | None:
        if value is None or isinstance(value, Span):
            return value
        try:
            return Span.parse(value)
        except UnreadableSpan as error:
            raise ValidationError(str(error)) from error

    def get_prep_value(self, value: Any) -> str | None:
        value = self.to_python(value)
        return None if value is None else str(value)

    def value_to_string(self, obj: models.Model) -> str:
        return str(self.value_from_object(obj))

    def formfield(self, *_: Any, **options: Any) -> Any:
        shown: dict[str, Any] = {"form_class": forms.CharField, "max_length": 30}
        return super().formfield(**shown | options)
