"""Every face of the direct transport behind one blocking method."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httpx2

import polycall

FACES: Final = (
    "pyreqwest",
    "pyreqwest asyncio",
    "httpx2",
    "httpx2 asyncio",
    "own httpx2",
    "own httpx2 asyncio",
)


class Face:
    """One client.

    Attributes:
        client: polycall's.
        asynchronous: Whether it is an `AsyncClient`; it has an event loop of its own then.
    """

    def __init__(self, name: str, url: str, *, provider: str = "openai", **options: Any) -> None:
        self.asynchronous = name.endswith("asyncio")
        library = name.removesuffix(" asyncio")
        self._runner = asyncio.Runner() if self.asynchronous else None
        self._own: Any = None
        if library == "own httpx2":
            self._own = library = httpx2.AsyncClient() if self.asynchronous else httpx2.Client()
        given = {"base_url": url, "api_key": "sk-canary", "http_client": library, **options}
        self.client: Any = polycall.from_provider(f"{provider}/m", async_client=self.asynchronous, **given)

    def ask(self, messages: Any = "?", *, stream: bool = False, **options: Any) -> polycall.Calls[Any]:
        """Ask, and return everything that came."""
        if self._runner is not None:
            return self._runner.run(self._ask(messages, stream=stream, **options))
        if stream:
            with self.client.stream(messages, **options) as arriving:
                return arriving.result()
        return self.client.create(messages, **options)

    async def _ask(self, messages: Any, *, stream: bool, **options: Any) -> polycall.Calls[Any]:
        if stream:
            async with self.client.stream(messages, **options) as arriving:
                return await arriving.result()
        return await self.client.create(messages, **options)

    def run(self, work: Any) -> Any:
        """Await something in the loop of the client."""
        assert self._runner is not None
        return self._runner.run(work)

    def close(self) -> None:
        """Close the client, and the one of httpx2 that it was given; no task may be left."""
        if self._runner is None:
            self.client.close()
            if self._own is not None:
                self._own.close()
            return
        self._runner.run(self._close())
        self._runner.close()

    async def _close(self) -> None:
        await self.client.close()
        if self._own is not None:
            await self._own.aclose()
            for _ in range(3):
                await asyncio.sleep(0)  # a transport is closed in the loop's next rounds, and this was its last
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, others
