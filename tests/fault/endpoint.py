#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An HTTP endpoint for the storm: a job that is posted to /DEED raises its cell in the probe that the
first argument names, and is answered as its deed says. It prints its port, and serves until its
stdin ends."""

import asyncio
import json
import mmap
import struct
import sys

PAGE = 4096
ANSWERS = {
    "count": b"HTTP/1.1 204 No Content\r\n\r\n",
    "failure": b"HTTP/1.1 500 Oops\r\nContent-Length: 7\r\n\r\nas told",
    "refusal": b"HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nas told",
    "garbage": b"\x00\xff\xfe as told\r\n\r\n",
    "close": b"",
    "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nas told",
}
CLOSES = ("garbage", "close", "cut")


class Endpoint:
    def __init__(self, path):
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def _count(self, cell):
        at = PAGE + 8 * cell
        struct.pack_into("=q", self._map, at, struct.unpack_from("=q", self._map, at)[0] + 1)

    async def serve(self, reader, writer):
        try:
            while await self._serve_one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # whoever asked has hung up
        writer.close()

    async def _serve_one(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        size = next(int(line.split(":")[1]) for line in head
                    if line.lower().startswith("content-length:"))
        deed = head[0].split()[1].strip("/")
        cell, amount = json.loads(await reader.readexactly(size))["args"]
        self._count(cell)
        if deed == "stall":
            await asyncio.sleep(600)
        if deed == "flood":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % amount)
            for _ in range(int(amount) // 65536 + 1):
                writer.write(b"x" * 65536)
                await writer.drain()
            return False
        writer.write(ANSWERS[deed])
        await writer.drain()
        return deed not in CLOSES


async def main():
    server = await asyncio.start_server(Endpoint(sys.argv[1]).serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
