"""The one exception for input that cannot be used; everything a user can get wrong ends here."""


class InputError(ValueError):
    """Input that cannot be used. The message is one line: what was received, what is required, what to do."""
