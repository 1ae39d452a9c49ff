"""The errors that lwc reports to its users, each with its documented exit code.

A message is one line: the thing, what is wrong with it, what to do.
"""

from typing import ClassVar


class LwcError(Exception):
    """Base of every error whose message is meant for the user."""

    exit_code: ClassVar[int] = 70


class UsageError(LwcError):
    """The command line itself is wrong."""

    exit_code = 2


class BadInputError(LwcError):
    """A file, a name or a value from outside is missing, malformed or hostile."""

    exit_code = 3


class UnsupportedError(LwcError):
    """The input is valid, but lwc cannot compile it, or not for this target."""

    exit_code = 4


class VerificationError(LwcError):
    """A result disagrees with PyTorch, or a file with its recorded hash."""

    exit_code = 5


class ResourceError(LwcError):
    """Memory, disk, time or a needed tool ran out or is missing."""

    exit_code = 6


class Terminated(BaseException):
    """SIGTERM arrived. No `except Exception` swallows it, and cleaning up happens on the way out."""


# What ends the process on request. Anything else that a user's code raises is a fault of that code.
STOPS = (KeyboardInterrupt, Terminated)
