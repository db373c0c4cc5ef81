"""What the portal remembers of how somebody finds their way."""

from django.conf import settings
from django.db import models


class FirstSteps(models.Model):
    """Whether a person put the first steps on their home page away, or called them back; most did neither."""

    person = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    is_shown = models.BooleanField()

    def __str__(self) -> str:
        return "shown" if self.is_shown else "put away"
