"""What a web server runs."""

import os

from django.core.wsgi import get_wsgi_application

from portal import walls

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
application = get_wsgi_application()
walls.require_at_start()
