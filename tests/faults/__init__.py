"""The matrix of faults: every kind of request meets every fault, and the server is asked after.

- ``faults``: what may become of a request; ``kinds``: which request it happens to.
- ``server``: the embedded server behind a layer that injects faults, a path prefix for each cell.
- ``model``: who answers; ``state``: what the server has, read past the faulty layer.
- ``cells``: the matrix; ``scenarios``: what a cell's program does; ``observed``: what it saw.
- ``expected``: what may come of a fault; ``known``: the cells that deviate, with the reason.
- ``checks``: what must hold of the server's state and of the events.
- ``running``: cells on threads and processes; ``report``: their results for people.

``python -m tests.faults`` runs all of it; ``tests/faults/test_matrix.py`` a short cut.
"""
