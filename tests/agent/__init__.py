"""Agents and their threads."""
