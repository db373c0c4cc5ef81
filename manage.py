#!/usr/bin/env python3
"""Every command of the portal: `demo` and `test` need nothing but Python."""

import io
import os
import sys

if sys.version_info < (3, 11):  # noqa: UP036  (this is what tells an older Python)
    sys.exit(
        "The portal needs Python 3.11 or newer, and this is Python "
        + sys.version.split()[0]
        + ": install a newer one and run this command with it."
    )

from portal import bootstrap


def main() -> None:
    """Run one command in the locked environment, with servers of our own where no URL is given."""
    command = sys.argv[1] if len(sys.argv) > 1 else "help"
    if isinstance(sys.stdout, io.TextIOWrapper):  # each line when it is said, also into a pipe or a file
        sys.stdout.reconfigure(line_buffering=True)
    if command == "demo" or (command == "rehearse" and not os.environ.get("SECRET_KEY")):
        os.environ.setdefault("DEMO", "true")  # a rehearsal where no portal is set up is nobody's
    if command in ("benchmark", "screenshots"):  # as safe as the demo, on servers of their own
        os.environ.setdefault("DEMO", "true")
        os.environ.setdefault("PORTAL_PROFILE", command)
    os.environ.setdefault(
        "DJANGO_SETTINGS_MODULE",
        "portal.settings_test" if command in ("test", "prove") else "portal.settings",
    )
    bootstrap.enter_environment(command=command)

    # Only now is there a Django to import.
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        start_servers(command=command)
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"{error}")


def start_servers(*, command: str) -> None:
    """Start PostgreSQL and Redis for this checkout, where the settings ask for them."""
    from django.conf import settings

    if settings.EMBEDDED and command not in ("demo", "help", "prove"):  # those two start their own
        from portal import embedded

        embedded.current().ensure(wanted=settings.EMBEDDED)


if __name__ == "__main__":
    with bootstrap.plain_errors():
        main()
