"""The one exception whose text is meant for the person at the keyboard."""


class InputError(Exception):
    """Something the user gave cannot be used.

    The message is one line that names the thing, the value received and the mend; stages print it
    without a traceback and exit with status 1.
    """
