"""Errors that say that a disk is full: what trying again does not mend."""

import errno

_NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TEXTS = ("No space left on device", "Disk quota exceeded", "File too large (os error", "OutOfDiskError")
"""As Lance, obstore and Ray give them, of which none keeps the number: 'File too large' is a limit of the process."""


def is_no_space(error: BaseException) -> bool:
    """Whether the error, or one that it came of, says that there is no space left."""
    links: list[BaseException] = [error]
    for link in links:
        if isinstance(link, OSError) and link.errno in _NUMBERS:
            return True
        if any(text in f"{type(link).__name__}: {link}" for text in _TEXTS):
            return True
        behind = (getattr(link, "cause", None), link.__cause__, link.__context__)
        links += [each for each in behind if isinstance(each, BaseException) and each not in links]
    return False
