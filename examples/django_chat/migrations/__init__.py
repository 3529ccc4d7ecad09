"""The tables as they have come to be."""
