"""Settings of the project."""

from __future__ import annotations

SECRET_KEY = "for tests"
INSTALLED_APPS = ["tests.live.apps.shop.billing"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True
