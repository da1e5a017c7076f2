"""Every option of jobmon: its name, type, range, default, and where its value came from.

Called by every entry point (CLI, server, ``jobmon.instrument()``); values travel as `Settings`.
Must never import another part of jobmon but ``errors``, nor anything but the standard library.
"""

from jobmon.settings.access import Password, Token
from jobmon.settings.explain import Explained, explain
from jobmon.settings.load import SettingsError, load, load_for_worker
from jobmon.settings.parse import Listen
from jobmon.settings.per_command import PerCommand, for_command
from jobmon.settings.schema import ENV_PREFIX, KEYS, LATER_KEYS, Key, Settings
from jobmon.settings.webhooks import Webhook

__all__ = [
    "ENV_PREFIX",
    "KEYS",
    "LATER_KEYS",
    "Explained",
    "Key",
    "Listen",
    "Password",
    "PerCommand",
    "Settings",
    "SettingsError",
    "Token",
    "Webhook",
    "explain",
    "for_command",
    "load",
    "load_for_worker",
]
