"""The embedded default: a private PostgreSQL and a private Redis-compatible server from installed wheels."""
