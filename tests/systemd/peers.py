"""What talks to the gateway in the container: a stream manager, a node that echoes, and clients. All of it is in the container's
network, where only loopback exists."""
import base64
import hashlib
import http.client
import http.server
import json
import os
import socket
import ssl
import struct
import threading
import time

GATEWAY, MANAGER, NODE = "127.0.0.1", "127.0.0.3", "127.0.0.2"
NODE_PORT, MANAGER_PORT = 5080, 5080
TIMEOUT = 20

_tls = ssl.create_default_context()
_tls.check_hostname = False
_tls.verify_mode = ssl.CERT_NONE


class _Peer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass


class _Manager(_Peer):
    """Every stream is on the one node."""

    def do_GET(self):
        name = self.path.partition("?")[0].rpartition("/")[2]
        body = json.dumps({"name": name, "scope": "/live", "serverAddress": NODE, "region": "here"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Node(_Peer):
    """Echoes the frames of a WebSocket, without their masks, until the other side has closed it."""

    def do_GET(self):
        self.send_response_only(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.send_header("Sec-WebSocket-Protocol", "json")
        self.end_headers()
        self.close_connection = True
        opcode = 0
        while opcode != 8:
            frame = read_frame(self.rfile)
            if frame is None:
                return
            opcode, payload = frame
            if opcode != 10:
                self.wfile.write(bytes([0x80 | (10 if opcode == 9 else opcode), len(payload)]) + payload)


def read_frame(file):
    """The next frame as (opcode, payload), unmasked; None at the end."""
    head = file.read(2)
    if len(head) < 2:
        return None
    length = head[1] & 0x7F
    if length == 126:
        length = struct.unpack(">H", file.read(2))[0]
    mask = file.read(4) if head[1] & 0x80 else bytes(4)
    payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(file.read(length)))
    return head[0] & 0x0F, payload


def start():
    """Starts the stream manager and the node."""
    for address, port, handler in ((MANAGER, MANAGER_PORT, _Manager), (NODE, NODE_PORT, _Node)):
        server = http.server.ThreadingHTTPServer((address, port), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()


def connect(port=443):
    plain = socket.create_connection((GATEWAY, port), timeout=TIMEOUT)
    return _tls.wrap_socket(plain, server_hostname="localhost")


def request(path, port=443):
    """One request on a connection of its own. Returns the status and the body."""
    with connect(port) as stream:
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while part := stream.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head:
        raise ConnectionError("no answer")
    return int(head.split(b" ", 2)[1]), body


def question(port=443):
    """Asks which node has a stream, as a client does before it plays. Raises if there is no good answer."""
    status, body = request("/streammanager/api/4.0/event/live/stream1?action=subscribe", port)
    if status != 200 or json.loads(body)["serverAddress"] != NODE:
        raise ConnectionError(f"{status} {body!r}")


class Session:
    """A WebSocket through the gateway to the node."""

    def __init__(self):
        self.stream = connect()
        self.file = self.stream.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        self.stream.sendall((
            f"GET /streammanager?id=stream1&host={NODE}&app=live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n").encode())
        status = self.file.readline()
        if b" 101 " not in status:
            raise ConnectionError(status.decode())
        while self.file.readline() not in (b"\r\n", b""):
            pass

    def send(self, opcode, payload):
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        self.stream.sendall(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked)

    def receive(self):
        """The next frame that is no ping."""
        while True:
            frame = read_frame(self.file)
            if frame is None:
                raise ConnectionError("the session was cut")
            if frame[0] != 9:
                return frame
            self.send(10, frame[1])

    def echo(self, text):
        """Sends a message and expects it back."""
        self.send(1, text.encode())
        assert self.receive() == (1, text.encode())

    def closed(self):
        """Waits for a Close and answers it. Returns its code and reason."""
        opcode, payload = self.receive()
        assert opcode == 8, opcode
        self.send(8, payload)
        return struct.unpack(">H", payload[:2])[0], payload[2:].decode()


class Load:
    """Clients that ask and leave, one after the other, while something happens to the gateway. Nothing may fail."""

    def __init__(self, clients=2, port=443):
        self.port, self.failed, self.count, self.slowest = port, [], 0, 0.0
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(clients)]

    def run(self):
        while not self.over.is_set():
            began = time.monotonic()
            try:
                question(self.port)
            except (OSError, ValueError) as error:
                self.failed.append(repr(error))
            self.count += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            time.sleep(0.01)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.after(10)
        return self

    def after(self, more):
        """Waits until so many more requests have ended."""
        goal, end = self.count + more, time.monotonic() + 60
        while self.count < goal:
            assert time.monotonic() < end, f"{self.count} requests ended, expected {goal}; failed: {self.failed[:3]}"
            time.sleep(0.01)

    def __exit__(self, kind, *_):
        if kind is None:
            self.after(20)
        self.over.set()
        for thread in self.threads:
            thread.join()
        if kind is None:
            assert not self.failed, f"{len(self.failed)} of {self.count} requests failed: {self.failed[:3]}"


def monitoring(method, path):
    """The status of a request to the monitoring listener, which every user of the machine reaches."""
    connection = http.client.HTTPConnection("127.0.0.1", 9180, timeout=TIMEOUT)
    connection.request(method, path)
    return connection.getresponse().status
