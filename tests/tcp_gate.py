"""A door in front of a server of this machine: while it is shut, connections are refused."""

from __future__ import annotations

import contextlib
import socket
import threading


class Gate:
    """Hands connections on to a port; `shut` ends and refuses them until `open`."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._door: socket.socket | None = None
        self.port = 0
        self.open()

    def open(self) -> None:
        """Lets connections through again, at the same port."""
        door = socket.socket()
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(("127.0.0.1", self.port))
        door.listen(64)
        self.port = door.getsockname()[1]
        self._door = door
        threading.Thread(target=self._accept, args=(door,), daemon=True).start()

    def shut(self) -> None:
        """Breaks every connection off, and refuses new ones."""
        with self._lock:
            door, self._door = self._door, None
            connections, self._connections = self._connections, set()
        if door is not None:
            with contextlib.suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)
            door.close()
        for one in connections:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self, door: socket.socket) -> None:
        while True:
            try:
                near, _ = door.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:  # nobody listens there now; the next connection may find somebody
                near.close()
                continue
            with self._lock:
                self._connections |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
            with self._lock:
                self._connections.discard(one)
