"""A logical replication stream over psycopg: PostgreSQL's streaming replication protocol, receiving side."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncGenerator
from typing import Any

import psycopg
from psycopg import generators, pq, sql

from local.cloud.fabric.pgoutput import POSTGRES_EPOCH

STATUS_SECONDS = 1.0
IDLE_SECONDS = 0.5
ENCODING = "utf-8"


class Stream:
    """The changes of one slot, from where it was last confirmed. `connection` was opened with `replication`."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], slot: str, publication: str):
        self.connection, self.slot, self.publication = connection, slot, publication
        self.received = 0

    async def start(self) -> None:
        """From now on the slot is active. Raises `psycopg.Error` if it is gone, lost or in use."""
        command = sql.SQL(
            "START_REPLICATION SLOT {} LOGICAL 0/0 (proto_version '1', publication_names {})"
        ).format(sql.Identifier(self.slot), sql.Literal(f'"{self.publication}"'))  # fmt: skip
        connection = self.connection
        connection.pgconn.send_query(command.as_string(connection).encode(ENCODING))
        result = (await connection.wait(generators.execute(connection.pgconn)))[0]
        if result.status != pq.ExecStatus.COPY_BOTH:
            raise psycopg.errors.error_from_result(result, encoding=ENCODING)

    async def messages(self) -> AsyncGenerator[bytes]:
        """The plugin's messages in order, and an empty one each half second in which nothing came.

        What has been yielded is confirmed to the server with the next status, so the slot lets go of its WAL.
        """
        confirmed = time.monotonic()
        while True:
            while (data := self._take()) is not None:
                if data[:1] == b"w":
                    self.received = max(self.received, struct.unpack_from("!q", data, 1)[0])
                    yield data[25:]
                elif data[:1] == b"k":
                    end, asked = struct.unpack_from("!q8x?", data, 1)
                    self.received = max(self.received, end)
                    confirmed = 0 if asked else confirmed
            if time.monotonic() - confirmed >= STATUS_SECONDS:
                self._confirm()
                confirmed = time.monotonic()
            if not await self._readable(IDLE_SECONDS):
                yield b""

    def _take(self) -> bytes | None:
        """The next piece of copy data that has arrived, or None."""
        size, data = self.connection.pgconn.get_copy_data(1)
        if size < 0:
            raise psycopg.OperationalError("the server ended the replication stream")
        return bytes(data) if size else None

    def _confirm(self) -> None:
        now = int((time.time() - POSTGRES_EPOCH) * 1e6)
        self.connection.pgconn.put_copy_data(struct.pack("!cqqqq?", b"r", *[self.received] * 3, now, False))
        self.connection.pgconn.flush()

    async def _readable(self, seconds: float) -> bool:
        """Wait for data and take it in; False when none came in time."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.connection.pgconn.socket, ready.set)
        try:
            async with asyncio.timeout(seconds):
                await ready.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self.connection.pgconn.socket)
        self.connection.pgconn.consume_input()
        return True
