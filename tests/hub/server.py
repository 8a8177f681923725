"""`LocalHub`: the local Hub on a loopback port, in a thread of the test's own process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Collection, Mapping
from datetime import datetime
from types import TracebackType

import uvicorn

from tests.hub.app import build_app
from tests.hub.content import Content
from tests.hub.faults import Fault, Faults, Rule
from tests.hub.profiles import FULL, Profile
from tests.hub.quotas import Quotas
from tests.hub.repository import Repository
from tests.hub.request_log import RequestLog
from tests.hub.store import Store


class LocalHub:
    """A Hub that speaks the real protocol, changed at run time through this object.

        with LocalHub() as hub:
            hub.add_commit("acme/lora", {"adapter_config.json": "{}"})
            huggingface_hub.HfApi(endpoint=hub.url).model_info("acme/lora")

    `latency` is slept before every answer, in seconds per hop. `cdn_url` is the same port under
    another host name: LFS files are redirected there.
    """

    def __init__(
        self,
        *,
        latency: float = 0.0,
        quotas: Quotas | None = None,
        profile: Profile = FULL,
        port: int = 0,
    ) -> None:
        self.store = Store()
        self.faults = Faults()
        self.log = RequestLog()
        self.latency = latency
        self.quotas = quotas or Quotas()
        self.profile = profile
        self.port = port
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    # --- what the repositories hold ---

    def add_commit(
        self,
        repo_id: str,
        files: Mapping[str, Content | None],
        *,
        branch: str = "main",
        title: str = "Upload files",
        date: datetime | None = None,
        plain: Collection[str] = (),
    ) -> str:
        """Commit files and return the sha, see `Store.add_commit`."""
        return self.store.add_commit(
            repo_id, files, branch=branch, title=title, date=date, plain=plain
        )

    def repository(self, repo_id: str) -> Repository:
        return self.store.repository(repo_id)

    def add_branch(self, repo_id: str, name: str, revision: str = "main") -> None:
        self.store.set_ref(repo_id, name, revision, kind="branch")

    def add_tag(self, repo_id: str, name: str, revision: str = "main") -> None:
        self.store.set_ref(repo_id, name, revision, kind="tag")

    def delete(self, repo_id: str) -> None:
        self.store.delete(repo_id)

    def move(self, old: str, new: str) -> None:
        """Rename; requests for the old id are redirected (307)."""
        self.store.move(old, new)

    def redirect(self, old: str, new: str) -> None:
        """Let an id that never held files here redirect to another."""
        self.store.add_redirect(old, new)

    # --- who may read them ---

    def set_private(self, repo_id: str, private: bool = True) -> None:
        self.repository(repo_id).private = private

    def set_gated(self, repo_id: str, gated: str | bool = "manual") -> None:
        """Gate ("auto" or "manual") or open (False) a repository's files."""
        self.repository(repo_id).gated = gated

    def set_disabled(self, repo_id: str, disabled: bool = True) -> None:
        self.repository(repo_id).disabled = disabled

    def add_token(self, token: str, *, user: str = "reader", may_read: tuple[str, ...] = ()) -> str:
        """Know a token. `may_read` names the private and gated repositories open to it."""
        self.store.add_token(token, user=user, may_read=may_read)
        return token

    # --- how it answers ---

    def inject(
        self,
        fault: Fault,
        *,
        path: str = "",
        method: str | None = None,
        host: str | None = None,
        times: int | None = None,
    ) -> Rule:
        """Put a fault in force, see `Faults.inject`."""
        return self.faults.inject(fault, path=path, method=method, host=host, times=times)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def cdn_url(self) -> str:
        return f"http://localhost:{self.port}"

    def start(self) -> None:
        # asyncio turns Nagle's delay off only for sockets that were made with this protocol; with
        # it every answer of two writes would wait 40 ms for the client's acknowledgement.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            build_app(self),
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            ws="none",
            http="h11",
            server_header=False,
            proxy_headers=False,
            backlog=1024,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=60,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="local-hub", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("the local Hub did not start")
            time.sleep(0.005)

    def stop(self) -> None:
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._server = self._thread = None

    def __enter__(self) -> LocalHub:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
