"""The tests: tables first, threads second, sockets last."""
