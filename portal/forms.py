"""What people fill in about themselves and their colleagues."""

from datetime import date
from typing import Any

from allauth.account import forms as allauth_forms
from allauth.account.adapter import get_adapter as get_account_adapter
from allauth.core import context
from allauth.core.internal.cryptokit import normalize_user_code
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base import forms as factor_forms
from allauth.mfa.models import Authenticator
from allauth.mfa.totp import forms as app_forms
from allauth.mfa.webauthn import forms as key_forms
from django import forms
from django.conf import settings
from django.contrib.auth import password_validation
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from firmware.models import FirmwareRelease
from hubs.models import Supplier
from portal import door
from portal.ground import roles
from portal.ground.roles import SupplierRole
from portal.models import Invitation, User
from scheduling.forms import ListFilterForm
from scheduling.models import Rehearsal
from scheduling.operations.asked_rehearsals import Wish

MOST_HUBS = 50_000_000
MOST_WHOLE = 1_000_000
"""Hubs of a rehearsal through the real code: more would keep the machine for hours."""


class PlainLabels:
    """Let labels speak instead of placeholders, which vanish as one types."""

    LABELS = {
        "login": "E-mail address",
        "email": "E-mail address",
        "oldpassword": "Present password",
        "password1": "New password",
        "password2": "New password again",
        "code": "Code",
        "name": "What you call the key",
    }
    fields: dict[str, forms.Field]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.label = self.LABELS.get(name, field.label)
            field.help_text = ""
            field.widget.attrs.pop("placeholder", None)


class LoginForm(PlainLabels, allauth_forms.LoginForm):  # type: ignore[misc]
    """Sign in."""


class ResetPasswordForm(PlainLabels, allauth_forms.ResetPasswordForm):  # type: ignore[misc]
    """Ask for a link to choose a new password."""

    users: list[User]

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        """Owe the link; for an address that nobody has, do all of the work, and leave nothing of it."""
        is_known = bool(self.users)
        if not is_known:
            self.users = [User(pk=0, email=self.cleaned_data["email"], password=make_password(None))]
        with transaction.atomic():
            address: str = super().save(request, **kwargs)
            if not is_known:
                transaction.set_rollback(True)
        return address


class ResetPasswordKeyForm(PlainLabels, allauth_forms.ResetPasswordKeyForm):  # type: ignore[misc]
    """Choose a new password by that link."""


class ChangePasswordForm(PlainLabels, allauth_forms.ChangePasswordForm):  # type: ignore[misc]
    """Choose a new password, knowing the present one."""


class ReauthenticateForm(PlainLabels, allauth_forms.ReauthenticateForm):  # type: ignore[misc]
    """Show that it is still the same person."""


class OneTimeCode(PlainLabels):
    """
    Take the code of an app once.

    A code is good for its own step of time and those beside it, so it is known as used for all of them.
    """

    user: User
    cleaned_data: dict[str, Any]

    def clean_code(self) -> str:
        """Refuse a code that was used, and use this one up; say in the log if it is refused."""
        try:
            return self._used_up()
        except ValidationError:
            door.refused("second factor refused: a code", user=self.user.pk)
            raise

    def _used_up(self) -> str:
        key = f"used:{self.user.pk}:{normalize_user_code(self.cleaned_data['code'])}"
        if cache.get(key):
            raise get_adapter().validation_error("incorrect_code")
        code: str = super().clean_code()  # type: ignore[misc]
        steps = 2 * settings.MFA_TOTP_TOLERANCE + 1
        # of two at once, one has it
        if self._is_of_app() and not cache.add(key, True, timeout=30 * steps):
            raise get_adapter().validation_error("incorrect_code")
        return code

    def _is_of_app(self) -> bool:
        """Say whether the code came from an app: a recovery code is crossed out for good elsewhere."""
        used = getattr(self, "authenticator", None)
        return used is None or used.type == Authenticator.Type.TOTP


class CodeForm(OneTimeCode, factor_forms.AuthenticateForm):  # type: ignore[misc]
    """Give a second factor beside the password."""

    def save(self) -> None:
        """Sign in, and tell somebody whose recovery code was used."""
        super().save()
        door.passed(f"second factor given: {self.authenticator.type}", user=self.user.pk)
        tell_of_recovery_code(used=self.authenticator)


class CodeAgainForm(OneTimeCode, factor_forms.ReauthenticateForm):  # type: ignore[misc]
    """Show with the second factor that it is still the same person."""

    def save(self) -> None:
        """Go on, and tell somebody whose recovery code was used."""
        super().save()
        door.passed(f"second factor given again: {self.authenticator.type}", user=self.user.pk)
        tell_of_recovery_code(used=self.authenticator)


def tell_of_recovery_code(*, used: Authenticator) -> None:
    """Tell a person by e-mail that a recovery code was used, and how many are left."""
    if used.type != Authenticator.Type.RECOVERY_CODES:
        return
    left = len(Authenticator.objects.get(pk=used.pk).wrap().get_unused_codes())
    get_account_adapter(context.request).send_notification_mail(
        "mfa/email/recovery_code_used", used.user, {"left": left}
    )


class ActivateAppForm(OneTimeCode, app_forms.ActivateTOTPForm):  # type: ignore[misc]
    """Show that the app has the secret, by a code of it."""


class Touched:
    """Take the answer of a security key, and say in the log what came of it."""

    user: User
    cleaned_data: dict[str, Any]

    def clean_credential(self) -> Authenticator:
        """Refuse what no key of theirs has signed."""
        try:
            held: Authenticator = super().clean_credential()  # type: ignore[misc]
        except ValidationError:
            door.refused("second factor refused: a security key", user=self.user.pk)
            raise
        return held


class KeyForm(Touched, key_forms.AuthenticateWebAuthnForm):  # type: ignore[misc]
    """Touch a security key beside the password."""

    def save(self) -> None:
        """Sign in."""
        super().save()
        door.passed("second factor given: webauthn", user=self.user.pk)


class KeyAgainForm(Touched, key_forms.ReauthenticateWebAuthnForm):  # type: ignore[misc]
    """Show with a security key that it is still the same person."""

    def save(self) -> None:
        """Go on."""
        super().save()
        door.passed("second factor given again: webauthn", user=self.user.pk)


class AddKeyForm(PlainLabels, key_forms.AddWebAuthnForm):  # type: ignore[misc]
    """Name a security key."""


class AcceptInvitationForm(forms.Form):
    """A name and a password for the place that an invitation keeps."""

    email = forms.EmailField(
        label="E-mail address",
        disabled=True,
        help_text="You sign in with this address.",
        widget=forms.EmailInput(attrs={"autocomplete": "username"}),
    )
    first_name = forms.CharField(
        max_length=150, label="First name", widget=forms.TextInput(attrs={"autocomplete": "given-name"})
    )
    last_name = forms.CharField(
        max_length=150, label="Last name", widget=forms.TextInput(attrs={"autocomplete": "family-name"})
    )
    password1 = forms.CharField(
        label="Password",
        strip=False,
        help_text="At least 15 characters. Four unrelated words are easy to remember and hard to guess.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    password2 = forms.CharField(
        label="Password again",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def __init__(self, *args: Any, invitation: Invitation, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.invitation = invitation
        self.fields["email"].initial = invitation.email

    def clean(self) -> dict[str, Any]:
        """Check the password as Django does, against this person's own name and address too."""
        cleaned = super().clean() or {}
        password, again = cleaned.get("password1"), cleaned.get("password2")
        if not password:
            return cleaned
        person = User(
            email=self.invitation.email,
            first_name=cleaned.get("first_name", ""),
            last_name=cleaned.get("last_name", ""),
        )
        try:
            password_validation.validate_password(password, person)
        except ValidationError as error:
            self.add_error("password1", error)
        if again and again != password:
            self.add_error("password2", "The two passwords are not the same.")
        return cleaned


class InviteForm(forms.ModelForm[Invitation]):
    """Whom to invite, and to which place."""

    supplier = forms.ModelChoiceField(
        queryset=Supplier.objects.order_by("name"),
        required=False,
        empty_label="DCC staff",
        label="Place",
        help_text="A Supplier, or DCC staff.",
    )
    groups = forms.ModelMultipleChoiceField(
        queryset=Group.objects.order_by("name"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="For DCC staff: what they may do.",
    )

    class Meta:
        model = Invitation
        fields = ("email", "supplier", "role", "groups")

    def _get_validation_exclusions(self) -> set[str]:
        # Inviting an address again replaces its link, so an open invitation is no error here.
        return {*super()._get_validation_exclusions(), "email"}  # type: ignore[misc]

    def clean(self) -> dict[str, Any]:
        """Say beside the field what `portal.operations.invite` would refuse."""
        cleaned = super().clean() or {}
        email, supplier = (cleaned.get("email") or "").lower(), cleaned.get("supplier")
        if email and User.objects.filter(email=email).exists():
            self.add_error(
                "email", f"{email} has an account already: they can sign in, or reset their password."
            )
        if supplier and cleaned.get("groups"):
            self.add_error("groups", "Groups are for DCC staff: choose a Supplier or groups, not both.")
        if not supplier and cleaned.get("role"):
            self.add_error("role", "A role is for a Supplier's people: choose a Supplier.")
        if supplier and not cleaned.get("role"):
            self.add_error("role", "A place with a Supplier needs a role: choose one.")
        if sentence := roles.conflict([group.name for group in cleaned.get("groups") or ()]):
            self.add_error("groups", sentence)
        return cleaned


class InviteColleagueForm(forms.Form):
    """Whom a Supplier's administrator invites, and what they may do."""

    email = forms.EmailField(label="E-mail address", widget=forms.EmailInput(attrs={"autocomplete": "off"}))
    role = forms.ChoiceField(choices=SupplierRole.choices, initial=SupplierRole.READ_ONLY)


class ColleagueForm(forms.Form):
    """What a colleague may do, and why that changes, or their access does."""

    role = forms.ChoiceField(choices=SupplierRole.choices)
    reason = forms.CharField(
        required=False, max_length=500, label="Reason (optional)", widget=forms.Textarea(attrs={"rows": 2})
    )


class SecondPersonForm(forms.Form):
    """How many hubs one person may book, move and cancel alone in 24 hours, and why that changes."""

    size = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=2**31 - 1,
        label="Hubs that one person may book, move and cancel alone in 24 hours",
        help_text="Beyond that a colleague has to agree. Leave it empty for any number.",
    )
    reason = forms.CharField(
        required=False,
        max_length=500,
        label="Reason",
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Needed where a colleague has to agree: for a larger number, or for any.",
    )


DAYS = (MinValueValidator(date(2000, 1, 1)), MaxValueValidator(date(2100, 1, 1)))


class RecordForm(ListFilterForm):
    """Which part of a Supplier's record; read from an address."""

    person = forms.ModelChoiceField(User.objects.none(), required=False, empty_label="everybody")
    act = forms.CharField(required=False, max_length=60, label="What was done, such as booking")
    first_day = forms.DateField(
        required=False, label="From the day", validators=DAYS, widget=forms.DateInput(attrs={"type": "date"})
    )
    last_day = forms.DateField(
        required=False, label="To the day", validators=DAYS, widget=forms.DateInput(attrs={"type": "date"})
    )

    def __init__(self, *args: Any, people: QuerySet[User], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["person"].queryset = people  # type: ignore[attr-defined]


class RehearsalForm(forms.Form):
    """What a rehearsal of a release is asked to find out: which defect, in which hubs, and how thoroughly."""

    percent = forms.DecimalField(
        label="Defect, % of the hubs",
        initial=2,
        min_value=0,
        max_value=100,
        max_digits=6,
        decimal_places=3,
        help_text="Beyond the 0.5 % that go wrong anyway. 0 rehearses a healthy release.",
    )
    kind = forms.ChoiceField(
        label="How it shows", choices=Rehearsal.Kind.choices, initial=Rehearsal.Kind.SILENT
    )
    where = forms.ChoiceField(label="Where")
    hubs = forms.IntegerField(
        label="Hubs",
        min_value=1,
        max_value=MOST_HUBS,
        help_text="As many as it is for, unless you say otherwise; capacity shrinks or grows with them.",
    )
    seed = forms.IntegerField(
        label="Seed",
        initial=1,
        min_value=1,
        max_value=2**31 - 1,
        help_text="The same seed has the same luck; another one shows what is chance.",
    )
    way = forms.ChoiceField(
        label="How thoroughly",
        initial="fast",
        choices=[
            ("fast", "In numbers alone: 200 rollouts in seconds or minutes, without slots and bookings"),
            (
                "whole",
                f"Through the real code: one rollout with bookings, slots and stages, up to {MOST_WHOLE:,} hubs; "
                "it takes minutes, and a database of its own",
            ),
        ],
        widget=forms.RadioSelect,
    )

    def __init__(self, *args: Any, release: FirmwareRelease, cannot_be_whole: str, **kwargs: Any) -> None:
        """Offer the networks and models of a release; `cannot_be_whole` is why the real code is not to be had."""
        super().__init__(*args, **{"label_suffix": "", **kwargs})
        self._cannot_be_whole = cannot_be_whole
        self._networks = {
            f"network:{period.network.code}": period.network
            for period in release.periods.select_related("network").order_by("network__name")
        }
        self._models = {f"model:{model.pk}": model for model in release.hub_models.order_by("name")}
        self.fields["where"].choices = [  # type: ignore[attr-defined]
            ("all", "In all of them"),
            *((code, f"Only on network {network}") for code, network in self._networks.items()),
            *((code, f"Only in model {model}") for code, model in self._models.items()),
        ]

    def clean(self) -> dict[str, Any]:
        """Refuse what would take too long, or cannot be done here."""
        cleaned = super().clean() or {}
        if cleaned.get("way") == "whole":
            if self._cannot_be_whole:
                self.add_error("way", f"{self._cannot_be_whole}. In numbers alone it can be rehearsed now.")
            elif (hubs := cleaned.get("hubs")) and hubs > MOST_WHOLE:
                self.add_error(
                    "hubs",
                    f"Through the real code at most {MOST_WHOLE:,} hubs can be rehearsed: say fewer, or take numbers "
                    "alone.",
                )
        return cleaned

    def wish(self) -> Wish:
        """Return what was asked for, once it is valid."""
        asked = self.cleaned_data
        has_defect = bool(asked["percent"])
        return Wish(
            is_whole=asked["way"] == "whole",
            hubs=asked["hubs"],
            percent=asked["percent"],
            kind=asked["kind"] if has_defect else "",
            network=self._networks.get(asked["where"]) if has_defect else None,
            model=self._models.get(asked["where"]) if has_defect else None,
            seed=asked["seed"],
        )
