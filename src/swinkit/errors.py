"""The one exception that means "the input is wrong", and how others are told in a line."""


class InputError(ValueError):
    """Bad input from a user: says in one sentence what was expected, what was got and what to do.

    The command line prints the sentence without a traceback and exits with code 2.
    """


def one_line(error: BaseException, most: int | None = None) -> str:
    """What any exception says, on one line of at most `most` characters; "no message" if nothing."""
    return " ".join(str(error).split())[:most] or "no message"
