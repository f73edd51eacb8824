"""Schema migrations, oldest first. A released one never changes and never imports ``store/schema``."""
