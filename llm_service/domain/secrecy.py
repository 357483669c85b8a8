"""What every value that holds a secret in the clear is made of."""

from typing import NoReturn


class NeverPickled:
    """Refuses to be pickled, and so to leave the process in a cache, a queue or a crash report.

    Not a promise that memory is wiped: Python cannot give that.
    """

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} holds a secret and is not pickled")
