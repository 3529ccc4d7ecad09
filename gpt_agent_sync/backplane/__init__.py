"""What the processes of a deployment share: who runs a thread's turn, and what is told of it.

``base`` is the contract. ``local`` is the backplane of one process, ``redis`` that of many:
``redis_scripts`` has what Redis does in one step, ``redis_log`` the events, ``redis_hub`` what one
process holds, hears and renews. ``timer`` is its clock, ``choosing`` finds the backplane that the
settings name.
"""
