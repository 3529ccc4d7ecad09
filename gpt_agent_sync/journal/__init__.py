"""What must outlive a crash: calls, messages and turns, and who works on them.

``base`` is the contract of every journal. ``rules`` says what may become of a record and
``record_journal`` makes a journal of any store that can replace one record atomically; ``memory``
and ``sqlite`` are such. ``owners`` names the processes, ``leases`` keeps what they hold theirs,
``choosing`` finds the journal that the settings name.
"""
