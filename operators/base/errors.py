"""The one base of every error that a user can cause and mend."""


class UserError(ValueError):
    """Says what was wrong, where, and what to do. The command line prints it without a traceback and exits with 2."""
