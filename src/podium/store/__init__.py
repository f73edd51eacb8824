"""Durable state on SQLite: schema, migrations, one writer thread, repositories."""
