"""What a process that tries a candidate may take."""

import resource


def lower_limit(process: int, kind: int, limit: int) -> None:
    """Set a limit of a process (0: this one) to `limit`, or leave it where it is lower already."""
    _, hard = resource.prlimit(process, kind)
    if hard == resource.RLIM_INFINITY or hard > limit:
        resource.prlimit(process, kind, (limit, limit))
