"""Benchmarks: the SDK beside the official client, over one stub service, in one run."""
