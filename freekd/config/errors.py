"""The error for what a config says."""


class ConfigError(ValueError):
    """A config that cannot be trained or tested as it stands; the message says what to change."""
