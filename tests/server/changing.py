"""Endpoints that change things behind every layer, for a server of its own: ``changing:app``."""

from __future__ import annotations

from jobmon.metrics.process import Activity
from jobmon.server import logs
from jobmon.server.app import assemble
from jobmon.server.layers import layers
from jobmon.server.meter import Meter
from jobmon.settings import load
from tests.server.application import ENDPOINTS

settings = load()
logs.configure(settings)
app = assemble(ENDPOINTS, settings, layers(settings, Meter(settings)), Activity())
