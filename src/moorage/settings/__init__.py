"""Every setting, in one frozen value: `load()` finds, checks and explains them.

model      what can be set        ← storage, web: its larger sections; values: kinds of value
keys       the map of all keys
document   the YAML file, with lines
environment  REGISTRY_…
loading    all of it together     → Loaded(settings, warnings, ignored, notices, origins)
"""

from moorage.settings.faults import Fault, SettingsError
from moorage.settings.loading import Loaded, load
from moorage.settings.model import Settings

__all__ = ["Fault", "Loaded", "Settings", "SettingsError", "load"]
