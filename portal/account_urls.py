"""
The allauth pages that are in use, and the portal's own beside them; no others.

There is no signing up, and no changing of the address that a person was invited under. Recovery codes are shown once,
and handed out as a file on the same page.
"""

from allauth.account import views
from allauth.mfa.base import views as factors
from allauth.mfa.recovery_codes import views as recovery_codes
from allauth.mfa.totp import views as app
from allauth.mfa.webauthn import views as keys
from django.urls import path, re_path
from django.views.generic import RedirectView

from portal import account_views

_to_the_account = RedirectView.as_view(pattern_name="account")

urlpatterns = [
    path("", account_views.AccountView.as_view(), name="account"),
    path("login/", views.login, name="account_login"),
    path("logout/", views.logout, name="account_logout"),
    path("reauthenticate/", views.reauthenticate, name="account_reauthenticate"),
    path("password/change/", views.password_change, name="account_change_password"),
    path("password/reset/", views.password_reset, name="account_reset_password"),
    path("password/reset/done/", views.password_reset_done, name="account_reset_password_done"),
    re_path(
        r"^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        views.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path(
        "password/reset/key/done/",
        views.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
    path("sessions/end/", account_views.EndSessionView.as_view(), name="end-session"),
    path("sessions/end-others/", account_views.EndOtherSessionsView.as_view(), name="end-other-sessions"),
    path("second-factor/", _to_the_account, name="mfa_index"),
    path(
        "second-factor/set-up/",
        account_views.SetUpSecondFactorView.as_view(),
        name="set-up-second-factor",
    ),
    path("second-factor/give/", factors.authenticate, name="mfa_authenticate"),
    path("second-factor/give-again/", factors.reauthenticate, name="mfa_reauthenticate"),
    path("second-factor/app/", app.activate_totp, name="mfa_activate_totp"),
    path("second-factor/app/remove/", app.deactivate_totp, name="mfa_deactivate_totp"),
    path("second-factor/codes/", recovery_codes.view_recovery_codes, name="mfa_view_recovery_codes"),
    path(
        "second-factor/codes/new/", recovery_codes.generate_recovery_codes, name="mfa_generate_recovery_codes"
    ),
    path("second-factor/keys/", _to_the_account, name="mfa_list_webauthn"),
    path("second-factor/keys/add/", keys.add_webauthn, name="mfa_add_webauthn"),
    path("second-factor/keys/give-again/", keys.reauthenticate_webauthn, name="mfa_reauthenticate_webauthn"),
    path("second-factor/keys/<int:pk>/remove/", keys.remove_webauthn, name="mfa_remove_webauthn"),
]
