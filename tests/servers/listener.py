"""A socket that must see nobody: it counts who connects."""

import socket
import threading


class Listener:
    """Listens on every address of this machine's loopback network that tests name: 127.0.0.1, and ::1 where there is
    one, by the same port."""

    def __init__(self) -> None:
        first = socket.create_server(("127.0.0.1", 0))
        self.port: int = first.getsockname()[1]
        self._sockets = [first]
        for family, address in ((socket.AF_INET, "127.0.0.2"), (socket.AF_INET6, "::1")):
            try:
                self._sockets.append(socket.create_server((address, self.port), family=family))
            except OSError:
                continue
        self.connections = 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._accept, args=(each,), daemon=True) for each in self._sockets]
        for thread in self._threads:
            thread.start()

    def _accept(self, listening: socket.socket) -> None:
        listening.settimeout(0.05)
        while not self._over.is_set():
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                continue
            self.connections += 1
            connection.close()

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()
