"""Settings of a Django project with django-rq; they instrument whatever loads them."""

from __future__ import annotations

import os

import jobmon

jobmon.instrument()

SECRET_KEY = "for tests"
INSTALLED_APPS = ["django_rq"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True
RQ_QUEUES = {"default": {"URL": os.environ["TEST_URL"] + "/1"}}
