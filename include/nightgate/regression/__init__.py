"""The watch: does a series become slower or worse inside of its limit, since when, and is it the host?

`course` follows one series, `suite` all of a night, `dating` says when a shift came, `thresholds` follow from the alerts a year
that somebody wants, and `power` says what a series would show. None of them knows a server or a file.
"""
