"""The services, each over its wire."""
