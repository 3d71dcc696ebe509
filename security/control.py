"""A service with holes, for scanners to find: what it is sent goes into a statement and into a page as it is."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import asyncpg


@contextmanager
def with_holes(database_url: str) -> Iterator[str]:
    """Its address, until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def opened() -> asyncpg.Pool:
        return await asyncpg.create_pool(database_url, min_size=1, max_size=4)

    pool = asyncio.run_coroutine_threadsafe(opened(), loop).result()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.read(65536)
        target = request.split(b" ")[1].decode() if b" " in request else "/"
        name = parse_qs(urlsplit(target).query).get("name", [""])[0]
        try:
            rows = await pool.fetch(f"SELECT name FROM clinics WHERE name = '{name}'")  # noqa: S608 - the hole
            said = f"{len(rows)} clinics are called {name}"
        except asyncpg.PostgresError as error:
            said = f"PostgreSQL query failed: ERROR: {error}"
        page = f'<html><body>{said}<form action="/"><input name="name"></form></body></html>'.encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n")
        writer.write(f"Content-Length: {len(page)}\r\n\r\n".encode() + page)
        with contextlib.suppress(ConnectionError):  # a scanner that has seen enough
            await writer.drain()
        writer.close()

    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(answer, "127.0.0.1", 0), loop).result()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(pool.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
