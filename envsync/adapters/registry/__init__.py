"""Registries: over HTTP, as folders and as archives; logins to them."""
