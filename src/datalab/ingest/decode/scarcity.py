"""Whether damage that a library tells of may be a lack of memory instead, which is never the data's fault."""

from __future__ import annotations

import numpy as np

_SIGNS = ("bad_alloc", "insufficient memory", "not enough memory", "out of memory", "alloc of size")
_HEADROOM = 8 << 20


def require_memory(error: BaseException) -> None:
    """Call before data is blamed for an error: MemoryError where an allocation may have failed.

    Libraries say it in words of their own or, where they take a failed allocation for damage, not at all.
    """
    if isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _SIGNS):
        raise MemoryError(str(error)) from error
    np.empty(_HEADROOM, dtype=np.uint8)
