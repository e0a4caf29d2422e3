"""Bad input as one sentence in the answer of the server, not as "Internal Server Error"."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException

from spinefuse_ext.plain_errors import plain_message

logger = logging.getLogger(__name__)

BAD_REQUEST = 400


@contextmanager
def plain_answers() -> Iterator[None]:
    """Turn a ``SpinefuseError`` into an answer with status 400 and its sentence as ``detail``."""
    try:
        yield
    except HTTPException:
        raise
    except Exception as error:
        message = plain_message(error)
        if message is None:
            raise
        logger.error(message)
        raise HTTPException(status_code=BAD_REQUEST, detail=message) from error
