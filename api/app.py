"""The application: routes, problem handlers, what surrounds each request, and its lifetime."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles
from starlette_compress import CompressMiddleware

from api import middleware, openapi, problems
from api.events import EventFeed
from api.identity import Identities, Quotas
from api.metrics import make_registry
from api.reading import RecordReader
from api.routes import (
    adapters,
    bases,
    health,
    operations,
    pages,
    subscriptions,
    webhooks,
)
from api.web.render import STATIC_FOLDER
from registry import logs
from registry.config import Settings
from registry.db.session import Database, open_database
from registry.jobs import Jobs

_DESCRIPTION = """\
Before you deploy a LoRA adapter, ask here how it is loaded and whether that was proven.
Reading public records is open; asking for work needs a token.
Every error is a problem document (RFC 9457) whose `type` leads to its page."""


def create_app(settings: Settings, *, database: Database | None = None) -> FastAPI:
    """The service on `settings`. The database must be migrated; `/readyz` says when it is not."""
    logs.configure()
    opened = database or open_database(settings.database_url)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.draining.set()
        if database is None:
            opened.close()

    app = FastAPI(
        title="loadplan",
        version=version("loadplan"),
        summary="The verified way to load a LoRA adapter on its base model",
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.settings = settings
    app.state.database = opened
    app.state.records = RecordReader(opened)
    app.state.identities = Identities(opened)
    app.state.quotas = Quotas()
    app.state.jobs = Jobs(opened.writer)
    app.state.feed = EventFeed(opened)
    app.state.metrics, app.state.requests = make_registry(opened)
    app.state.draining = threading.Event()
    problems.install(app)
    for router in (
        adapters.router,
        bases.router,
        operations.router,
        subscriptions.router,
        health.router,
    ):
        app.include_router(router)
    if settings.hub_webhook_secret is not None:
        app.include_router(webhooks.router)
    openapi.install(app)
    pages.install(app)
    app.mount("/static", StaticFiles(directory=STATIC_FOLDER), name="static")
    # The last added is the outermost: ids and headers surround compression and the body limit.
    app.add_middleware(middleware.BodyLimit)
    app.add_middleware(CompressMiddleware)
    app.add_middleware(middleware.RequestFrame)
    return app
