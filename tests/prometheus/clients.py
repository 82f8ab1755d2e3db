"""The clients of this suite: what they send to the gateway, until it is told to stop.

    clients.py GATEWAY_PORT MANAGER_URL NODES_PORT

Each round is a two-step session of either role, one-step ones, WHIP and WHEP, questions, and requests that are refused. Every
few rounds a node refuses connections. Two sessions stay open. Writes a line when a round is over. In the first rounds, an answer
that is not the expected one ends it with an error.
"""

import base64
import json
import os
import socket
import ssl
import sys
import time
import urllib.request

GATEWAY, MANAGER, NODES = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
TLS = ssl.create_default_context()
TLS.check_hostname, TLS.verify_mode = False, ssl.CERT_NONE
NODE = ["127.0.0.1", "127.0.0.2"]
# Rounds in which every answer has to be the expected one.
ROUNDS_MIN = 8
MEDIA = "".join(
    f"m={kind} 9 UDP/TLS/RTP/SAVPF {number}\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=mid:{mid}\r\n"
    "a=%s\r\na=rtcp-mux\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n"
    "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) + f"\r\na=setup:actpass\r\na=rtpmap:{number} {codec}\r\n"
    for mid, (kind, number, codec) in enumerate([("audio", 111, "opus/48000/2"), ("video", 96, "VP8/90000")])
)


def offer(direction):
    media = MEDIA.replace("%s", direction)
    return "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n" + media


class Connection:
    """One connection to the gateway, for one request."""

    def __init__(self):
        tcp = socket.create_connection(("127.0.0.1", GATEWAY), timeout=20)
        self.tls = TLS.wrap_socket(tcp, server_hostname="gateway.test")
        self.early = b""

    def send(self, method, target, fields="", body=""):
        head = f"{method} {target} HTTP/1.1\r\nHost: gateway.test\r\n{fields}"
        if body or method == "POST":
            head += f"Content-Length: {len(body)}\r\n"
        self.tls.sendall(f"{head}\r\n{body}".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self.receive()
        head, self.early = answer.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        status = int(lines[0].split(" ")[1])
        body = b"" if status in (101, 204) else self.read(int(fields.get("content-length", 0)))
        return status, fields, body

    def receive(self):
        received = self.tls.recv(65536)
        if not received:
            raise EOFError("the gateway closed the connection")
        return received

    def read(self, length):
        while len(self.early) < length:
            self.early += self.receive()
        bytes, self.early = self.early[:length], self.early[length:]
        return bytes

    def upgrade(self, target):
        key = base64.b64encode(os.urandom(16)).decode()
        fields = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        return self.send("GET", target, fields)

    def frame(self, opcode, payload):
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self.tls.sendall(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked)

    def read_frame(self):
        first, length = self.read(2)
        if length == 126:
            length = int.from_bytes(self.read(2), "big")
        return first & 15, self.read(length)

    def close(self, code):
        """Closes the WebSocket and reads up to the gateway's Close."""
        self.frame(8, code.to_bytes(2, "big"))
        while self.read_frame()[0] != 8:
            pass
        self.tls.close()


def expect(found, status, what):
    if found[0] != status:
        raise SystemExit(f"{what}: expected {status}, found {found[0]} {found[2][:300]}")
    return found


def request(status, method, target, fields="", body=""):
    connection = Connection()
    answer = expect(connection.send(method, target, fields, body), status, f"{method} {target}")
    connection.tls.close()
    return answer


def websocket(target):
    """Opens a WebSocket, reads the node's first frame and sends one."""
    connection = Connection()
    expect(connection.upgrade(target), 101, target)
    connection.read_frame()
    connection.frame(1, json.dumps({"isAvailable": "stream"}).encode())
    connection.read_frame()
    return connection


def named_node(stream, action):
    answer = request(200, "GET", f"/streammanager/api/4.0/event/live/{stream}?action={action}")
    answer = json.loads(answer[2])
    answer = answer[0] if isinstance(answer, list) else answer
    return answer["serverAddress"]


def two_step(node, stream):
    return f"/streammanager?id={stream}&host={node}&app=live"


def one_step(action, stream):
    return f"/as/v1/proxy/ws/{action}/live/{stream}?nodeGroup=ng1"


def whip(kind, stream, direction):
    target = f"/as/v1/proxy/{kind}/live/{stream}?nodeGroup=ng1"
    made = request(201, "POST", target, "Content-Type: application/sdp\r\n", offer(direction))
    return made[1]["location"]


def sandbox(command):
    urllib.request.urlopen(urllib.request.Request(f"{MANAGER}/sandbox/{command}", b"", method="POST")).close()


def refusals():
    request(404, "GET", "/nowhere")
    request(404, "POST", "/as/v1/proxy/whep/live/nothing?nodeGroup=ng1", "Content-Type: application/sdp\r\n", offer("recvonly"))
    request(426, "GET", two_step(NODE[0], "s"))
    for _ in range(2):
        expect(Connection().upgrade(two_step("10.9.9.9", "s")), 403, "a node that is not admitted")


def failing_node():
    sandbox("nodes/1/down")
    expect(Connection().upgrade(two_step(NODE[1], "s")), 502, "a node that refuses")
    sandbox("nodes/1/up")


def round(number):
    publisher = websocket(two_step(named_node(f"live{number}", "broadcast"), f"live{number}"))
    viewer = websocket(two_step(NODE[0], f"subscriber-{number}"))
    both = [websocket(one_step("publish", f"one{number}"))]
    resource = whip("whip", f"whip{number}", "sendonly")
    request(200, "DELETE", resource)
    for connection in [publisher, viewer, *both]:
        connection.close(1000)
    refusals()
    if number % 3 == 0:
        failing_node()


def main():
    kept = [websocket(two_step(NODE[0], "kept")), websocket(two_step(NODE[1], "subscriber-kept"))]
    whip("whip", "kept-whip", "sendonly")
    for number in range(10_000):
        try:
            round(number)
        except (SystemExit, OSError, EOFError) as error:
            if number < ROUNDS_MIN:
                raise
            # the drain at the end; clients that answer no Close make it last
            print(f"round {number}: {error}", flush=True)
            time.sleep(60)
            return
        print(f"round {number}: {len(kept)} sessions stay", flush=True)
        time.sleep(0.2)


main()
