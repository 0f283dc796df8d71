"""The one exception that means "the input is wrong", so that callers can tell it from a defect of ours."""


class InputError(ValueError):
    """Bad input from a user: says in one sentence what was expected, what was got and what to do.

    The command line prints the sentence without a traceback and exits with code 2.
    """
