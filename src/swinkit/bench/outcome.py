"""The two ways in which a comparison does not give a number."""


class Unavailable(Exception):
    """A candidate cannot take part here; the message says why, for the list of those left out."""


class Disagreement(Exception):
    """Two candidates compute different things, so that comparing their speed would mean nothing."""
