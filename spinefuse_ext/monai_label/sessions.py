"""MONAI Label's sessions, for images that are not kept: their numbers lead nowhere else, their archives stay inside."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from monailabel.utils.sessions import Sessions

from spinefuse_ext.unpack import unpack

_NUMBER = re.compile(r"[0-9a-zA-Z-]{1,64}")


class CheckedSessions(Sessions):
    """Sessions whose numbers are no paths. What is no number has no session.

    Raises:
        ArchiveError: from ``add_session``, for an archive that would write outside its folder.
    """

    def get_session(self, session_id: str, update_ts: bool = True, fetch_cache: bool = True) -> Any:
        return super().get_session(session_id, update_ts, fetch_cache) if _NUMBER.fullmatch(session_id) else None

    def remove_session(self, session_id: str) -> None:
        if _NUMBER.fullmatch(session_id):
            super().remove_session(session_id)

    def add_session(
        self, data_file: str, expiry: int = 0, uncompress: bool = False, session_id: str | None = None
    ) -> Any:
        if not uncompress or Path(data_file).is_dir():
            return super().add_session(data_file, expiry, False, session_id)
        folder = Path(tempfile.mkdtemp())
        try:
            unpack(data_file, folder)
            return super().add_session(str(folder), expiry, False, session_id)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
