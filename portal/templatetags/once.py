"""What every form that may change something carries, in every template: Django's token, and the key of this form."""

from typing import Any

from django import template
from django.template.base import Parser, Token
from django.template.defaulttags import CsrfTokenNode
from django.utils.html import format_html
from django.utils.safestring import SafeString

from portal.ground import once

register = template.Library()


class FormNode(CsrfTokenNode):
    """The fields that nobody sees."""

    def render(self, context: Any) -> SafeString:
        """Write both, or neither where a page is written for nobody's session."""
        token = super().render(context)
        if not token:
            return SafeString()
        return format_html(
            '{}<input type="hidden" name="{}" value="{}" autocomplete="off">',
            token,
            once.FIELD,
            once.new_key(),
        )


@register.tag
def csrf_token(parser: Parser, token: Token) -> FormNode:
    """Stand in for Django's own tag, so that no form goes without a key."""
    return FormNode()
