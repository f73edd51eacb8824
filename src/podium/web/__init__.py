"""The dashboard at ``/``: pages for people, drawn on the server.

Owns templates, styles, scripts and the session of a browser. Changes nothing itself: every button calls the control API,
where roles, limits and the record are. What a page shows is what the control API answers, asked for in the process.
"""
