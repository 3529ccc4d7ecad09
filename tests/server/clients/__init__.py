"""Other people's clients against the server: each module is skipped where its client is not."""
