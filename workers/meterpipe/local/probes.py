"""Whether a service on 127.0.0.1 answers. Each asks one question, waits 2 s at most and never raises."""

import http.client
import socket

CQL_OPTIONS = bytes([4, 0, 0, 0, 5, 0, 0, 0, 0])  # protocol 4, no flags, stream 0, OPTIONS, empty body
CQL_SUPPORTED = 6


def listens(port: int) -> bool:
    """Whether somebody accepts connections."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def cql_answers(port: int) -> bool:
    """Whether a Cassandra says which options it supports."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(CQL_OPTIONS)
            header = connection.recv(9)
    except OSError:
        return False
    return len(header) >= 5 and header[4] == CQL_SUPPORTED


def redis_answers(port: int) -> bool:
    """Whether a Redis answers and has loaded its data."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
    except OSError:
        return False


def http_ok(port: int, path: str) -> bool:
    """Whether GET `path` gives 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
