"""From a provider to imagery and pairs."""
