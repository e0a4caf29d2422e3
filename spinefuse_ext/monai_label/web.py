"""What stands before MONAI Label's web server: who may ask, what may be asked, and bad input as one sentence."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from monailabel.config import settings
from monailabel.utils.async_tasks.task import AsyncTask
from starlette.middleware import Middleware

from spinefuse_ext.monai_label.errors import BAD_REQUEST, plain_answers
from spinefuse_ext.monai_label.origins import ORIGINS, origin_list, outside, refusal, started_for
from spinefuse_ext.monai_label.requests import checked, refuse_places
from spinefuse_ext.validation import SpinefuseError

logger = logging.getLogger(__name__)

FORBIDDEN = 403

Send = Callable[[Any], Awaitable[None]]


class OriginGuard:
    """Answers 403 to requests of foreign pages, before anything reads them.

    Args:
        app: what answers the others, ASGI.
        origins: of pages that may use the server beside its own.
        told: whether the address to listen on was named; if not, nobody but this computer is answered.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], origins: Collection[str], told: bool) -> None:
        self.app, self.origins, self.told = app, origins, told

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            local = None if self.told else outside((scope.get("server") or (None,))[0])
            reason = local or refusal(headers, self.origins)
            if reason is not None:
                logger.warning(reason)
                await JSONResponse({"detail": reason}, FORBIDDEN)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def protect_server(app: FastAPI) -> None:
    """Put the guards before MONAI Label's application, in place of its CORS, which lets every page in.

    The origins are those of the environment variable ``SPINEFUSE_LABEL_ORIGINS``, by default none but the server's own.
    Done while the application starts, before the first request.
    """
    origins = origin_list(os.environ.get(ORIGINS, ""))
    named: dict[str, Any] = {"allow_credentials": True, "allow_methods": ["*"], "allow_headers": ["*"]}
    others = [middleware for middleware in app.user_middleware if middleware.cls not in (CORSMiddleware, OriginGuard)]
    app.user_middleware = [
        Middleware(OriginGuard, origins=origins, told=started_for(sys.argv)),
        Middleware(CORSMiddleware, allow_origins=origins, **named),
        *others,
    ]
    app.add_exception_handler(SpinefuseError, _as_bad_request)
    app.add_exception_handler(json.JSONDecodeError, _as_bad_request)
    app.middleware_stack = app.build_middleware_stack()
    _check_tasks()
    logger.info("Pages that may use this server: its own%s.", "".join(f", {origin}" for origin in origins))


async def _as_bad_request(_: Request, error: Exception) -> JSONResponse:
    sentence = f"The request is no JSON ({error})." if isinstance(error, json.JSONDecodeError) else str(error)
    logger.error(sentence)
    return JSONResponse({"detail": sentence}, BAD_REQUEST)


def _check_tasks() -> None:
    """Check what starts a process of its own (training, scoring, batch) before MONAI Label makes its environment."""
    run = AsyncTask.run
    if getattr(run, "checks", False):
        return

    def checked_run(
        method: str, request: Any = None, params: Any = None, force_sync: bool = False, enqueue: bool = False
    ) -> Any:
        given = {**(request or {}), **(params or {})}
        with plain_answers():
            refuse_places(given)
            made = checked(given, str(settings.MONAI_LABEL_TRACKING_URI or ""))
        return run(method, request=made, params=None, force_sync=force_sync, enqueue=enqueue)

    checked_run.checks = True  # type: ignore[attr-defined]
    AsyncTask.run = staticmethod(checked_run)
