"""Settings: one TOML file, every key also an environment variable."""

from listwire.settings.load import Settings, load

__all__ = ["Settings", "load"]
