"""The standard library's HTTP server, for clients that open hundreds of connections at once."""

from http.server import ThreadingHTTPServer


class ManyClientsServer(ThreadingHTTPServer):
    # Its own five leave the others to the client's kernel: they are made seconds later, even of a client that was
    # killed (one test of 2 s took 57 s, and another saw requests of the dead).
    request_queue_size = 1024
    daemon_threads = True
