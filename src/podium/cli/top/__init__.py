"""``podium top``: what goes on, and which version leads where, in a terminal.

``gathering`` asks a server, ``now`` and ``leaderboard`` draw, ``screen`` reads keys and draws again, ``command`` is the
command.
"""
