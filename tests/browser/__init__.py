"""The examples in a real browser, under gunicorn with four workers."""
