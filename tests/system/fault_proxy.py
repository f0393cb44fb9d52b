"""A TLS-terminating proxy before an API server that does to requests what a test says.

FaultProxy.fault is a function that is given each Exchange and answers it, or not;
without one, requests are passed on. Functions that make such functions stand below.
What a test sets holds from the next connection or request on.
"""

import contextlib
import functools
import http.client
import socket
import ssl
import struct
import threading
import time

BACKEND_SECONDS = 60
PIECE_BYTES = 65536
OF_ONE_HOP = {"connection", "content-length", "host", "transfer-encoding"}


class Exchange:
    """One request, and the means to answer it.

    time, method, target, headers, body   of the request; time is time.monotonic()
    status                                of what was answered; None: nothing was
    """

    def __init__(self, proxy, connection, stream):
        """REQUIRES: a request comes. Throws a ValueError if it does not."""
        line = stream.readline().decode("latin-1").split()
        self.method, self.target, _ = line
        self.time = time.monotonic()
        self.headers = http.client.parse_headers(stream)
        self.body = stream.read(int(self.headers.get("Content-Length", 0)))
        self.status = None
        self.is_over = False  # whether the connection is of no more use
        self._proxy = proxy
        self._connection = connection

    def __str__(self):
        return f"{self.time:.3f} {self.method} {self.target} {self.status or '-'}"

    def send(self, data):
        """Sends these bytes as they are."""
        self._connection.sendall(data)

    def head(self, status, headers):
        self.status = status
        lines = [f"HTTP/1.1 {status} {http.client.responses[status]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def answer(self, status, body, headers):
        body = body.encode() if isinstance(body, str) else body
        self.head(status, {**headers, "Content-Length": len(body)})
        self.send(body)

    def close(self, reset=False):
        """Ends the connection without TLS's farewell; with a TCP reset if that is wanted."""
        self.is_over = True
        if reset:
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            _shut_down(self._connection)

    def wait(self):
        """Until the client ends the connection."""
        while self._connection.recv(PIECE_BYTES):
            pass

    def ask(self):
        """(status, headers, body) of what the real server answers."""
        with self._asked() as response:
            return response.status, _passed_on(response.headers), response.read()

    def forward(self):
        """Answers as the real server does, piece by piece."""
        with self._asked() as response:
            headers, length = _passed_on(response.headers), response.headers["Content-Length"]
            framing = {"Content-Length": length} if length else {"Transfer-Encoding": "chunked"}
            self.head(response.status, {**headers, **framing})
            while piece := response.read1(PIECE_BYTES):
                self.send(piece if length else chunk(piece))
            if not length:
                self.send(chunk(b""))

    @contextlib.contextmanager
    def _asked(self):
        server = self._proxy.server
        tls = ssl.create_default_context(cafile=server.ca_file)
        # A watch ends when its own time does.
        seconds = None if "watch=true" in self.target else BACKEND_SECONDS
        backend = http.client.HTTPSConnection(server.host, server.port, timeout=seconds, context=tls)
        with contextlib.closing(backend):
            backend.request(self.method, self.target, self.body or None, _passed_on(self.headers))
            # So that cut() ends what waits for the next piece of a watch.
            with self._proxy.tracked(backend.sock):
                yield backend.getresponse()


class FaultProxy:
    """Listens on a loopback port of its own; a context manager.

    server        a ControlPlane: where requests go
    certificate   what the proxy shows
    fault         function of an Exchange that answers it; None: pass it on
    greet         function of an accepted socket, which then is its own; None: TLS and HTTP
    exchanges     all requests so far
    connections   the time.monotonic() of all connections so far
    """

    def __init__(self, server, certificate):
        self.server = server
        self.host = server.host
        self.certificate = self._own_certificate = certificate
        self.fault = None
        self.greet = None
        self.exchanges = []
        self.connections = []
        self._lock = threading.Lock()
        self._open = set()
        self._listener = None

    def __enter__(self):
        # Bound but not listening: connections are refused while nothing else is there.
        self._reserved = _bound(self.host, 0)
        self.port = self._reserved.getsockname()[1]
        self.listen()
        return self

    def __exit__(self, *_):
        self.refuse()
        self._reserved.close()

    def listen(self):
        self._listener = _bound(self.host, self.port)
        self._listener.listen()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self):
        """Ends all connections and refuses new ones, until listen()."""
        if self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.cut()

    def cut(self):
        """Ends all connections."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    _shut_down(connection)

    def mend(self):
        """Passes everything on from now, as at the start."""
        self.fault = None
        self.greet = None
        self.certificate = self._own_certificate
        if not self._listener:
            self.listen()

    @contextlib.contextmanager
    def tracked(self, connection):
        with self._lock:
            self._open.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(connection)

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self.connections.append(time.monotonic())
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        # Whatever a client or the server breaks off ends here.
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException), connection, self.tracked(connection):
            if self.greet:
                self.greet(connection)
                return
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(self.certificate.file, self.certificate.key)
            with tls.wrap_socket(connection, server_side=True) as secured, self.tracked(secured):
                with secured.makefile("rb") as stream:
                    self._converse(secured, stream)

    def _converse(self, connection, stream):
        exchange = None
        while not (exchange and exchange.is_over):
            exchange = Exchange(self, connection, stream)
            self.exchanges.append(exchange)
            (self.fault or Exchange.forward)(exchange)


# Faults.


def answer(status, body="", **headers):
    """An answer of the proxy's own; Retry_After=3 is the header Retry-After."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda exchange: exchange.answer(status, body, headers)


def raw(*pieces):
    """These bytes for an answer, then the end."""

    def fault(exchange):
        for piece in pieces:
            exchange.send(piece)
        exchange.close()

    return fault


def chunk(data):
    """As one piece of a body of the Transfer-Encoding chunked; the last is empty."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def endless(head, piece, seconds=0):
    """Bytes without end, with a pause of so many seconds after each piece."""

    def fault(exchange):
        exchange.send(head)
        while True:
            exchange.send(piece)
            time.sleep(seconds)

    return fault


def silence():
    return Exchange.wait


def cut_before_the_answer(reset=False):
    return functools.partial(Exchange.close, reset=reset)


def cut_after(count):
    """The real answer, of whose body so many bytes come."""

    def fault(exchange):
        status, headers, body = exchange.ask()
        assert len(body) > count
        exchange.head(status, {**headers, "Content-Length": len(body)})
        exchange.send(body[:count])
        exchange.close()

    return fault


def only(text, fault):
    """The fault where text stands in "METHOD target"; all else is passed on."""

    def chosen(exchange):
        is_meant = text in f"{exchange.method} {exchange.target}"
        (fault if is_meant else Exchange.forward)(exchange)

    return chosen


def times(count, fault):
    """The fault for so many requests, then none."""
    left = [None] * count

    def counted(exchange):
        try:
            left.pop()
        except IndexError:
            exchange.forward()
        else:
            fault(exchange)

    return counted


# Greetings, for FaultProxy.greet.


def speak_plain_http(connection):
    connection.recv(PIECE_BYTES)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def say_nothing(connection):
    while connection.recv(PIECE_BYTES):
        pass


def _passed_on(headers):
    return {name: value for name, value in headers.items() if name.lower() not in OF_ONE_HOP}


def _shut_down(connection):
    # Not SSLSocket's own, after which another thread would send in the clear.
    socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _bound(host, port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    return listener
