"""The contract of the peer's rendezvous, written a second time: a registry, a relay and an
orchestrator in one program, which drives the executor that registers and says what it found.

It shares no line with the product. `contract.py ENVIRONMENT TOKEN FOLDER`
prints the base URL, waits for the executor, makes its checks, prints one line for each and ends with 0 when all of them hold.
"""

import asyncio
import base64
import http.server
import json
import sys
import threading
import time
import uuid

import sealed
import websockets

ENVIRONMENT, TOKEN, FOLDER = sys.argv[1:]
SUITE = "Noise_hybridIK_X25519+MLKEM768_AESGCM_SHA256"
FIELDS = {"suite", "x25519_public_key", "mlkem768_public_key"}
REGISTRATION = "registration/with anything+in it"
AUTHORIZATION = "welcome"
LINES = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo $i; sleep 0.01; done"
# Byte for byte, with what a careless client would change.
PATH = "/relay/%7Eodd/../path?b=2&a=1&a=%2F"
# What nobody on the relay may read.
MARKER = "marker-5b1c7ade-which-nobody-else-says"
# Longer than all the connections that end under it.
LONG = "i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo $i; sleep 0.03; done"
# An executor waits ten seconds for a verdict.
SILENCE = 12


# --- Frames ---


def varint(number):
    out = b""
    while True:
        byte, number = number & 127, number >> 7
        out += bytes([byte | (128 if number else 0)])
        if not number:
            return out


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def frame(stream, number, body, version=1):
    return field(1, version) + field(2, stream.encode()) + field(number, body)


def fields(data):
    out, at = {}, 0

    def take():
        nonlocal at
        number = shift = 0
        while True:
            byte, at = data[at], at + 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    while at < len(data):
        key = take()
        if key & 7 == 0:
            out[key >> 3] = take()
        else:
            length = take()
            out[key >> 3], at = data[at : at + length], at + length
    return out


DATA, RESUME, RESET, HEARTBEAT, HANDSHAKE = 5, 7, 8, 9, 10


# --- Registry ---


class Registry(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registered = []
    validated = []
    # What the next answers are; 200 when there is none.
    register_answers = []
    validate_answers = []
    relay = 0

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        action = self.path.rsplit("/", 1)[1]
        good = self.path == f"/base/cloud/environment/{ENVIRONMENT}/{action}"
        good &= self.headers["authorization"] == f"Bearer {TOKEN}"
        good &= self.headers["content-type"] == "application/json"
        if not good:
            return self.answer(400, {"error": {"code": "bad", "message": f"{self.path}"}})
        if action == "register":
            self.registered.append(body)
            status = self.register_answers.pop(0) if self.register_answers else 200
            return self.answer(
                status,
                {
                    "environment_id": ENVIRONMENT,
                    "url": f"ws://127.0.0.1:{self.relay}{PATH}",
                    "security_profile": "noise_hybrid_ik_v1",
                    "executor_registration_id": REGISTRATION,
                    "unknown": {"field": 1},
                },
            )
        self.validated.append((self.headers["x-codex-noise-stream-id"], body))
        status, answer = (
            self.validate_answers.pop(0) if self.validate_answers else (200, {"valid": True})
        )
        if status is None:
            # No answer, for longer than anybody has to wait for one.
            time.sleep(SILENCE)
            self.close_connection = True
            return None
        return self.answer(status, answer)

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


# --- Relay and orchestrator ---


class Link:
    """The executor's websocket, and the streams that we open in it."""

    seen = []

    def __init__(self, websocket, key):
        self.websocket, self.key = websocket, key
        self.queues = {}
        self.stray = []

    async def read(self):
        async for message in self.websocket:
            assert isinstance(message, bytes) and len(message) <= 262144
            self.seen.append(message)
            parts = fields(message)
            assert parts.get(1) == 1 and parts.get(3, 0) == 0 and parts.get(4, 0) == 0
            queue = self.queues.get(parts[2].decode())
            if queue:
                queue.put_nowait(parts)
            else:
                self.stray.append(parts)

    async def send(self, data):
        self.seen.append(data)
        await self.websocket.send(data)

    def dh(self):
        return base64.b64decode(self.key["x25519_public_key"])

    def kem(self):
        return base64.b64decode(self.key["mlkem768_public_key"])


class Stream:
    def __init__(self, link, name=None):
        self.link, self.name = link, name or str(uuid.uuid4())
        self.queue = link.queues[self.name] = asyncio.Queue()
        self.last, self.pending = 0, []

    async def next(self):
        return await asyncio.wait_for(self.queue.get(), 20)

    def first(self, registration=REGISTRATION, name=None):
        keys = sealed.Keys()
        binding = (ENVIRONMENT, registration, name or self.name)
        return sealed.Initiator(keys, self.link.dh(), self.link.kem(), binding, AUTHORIZATION)

    async def open(self):
        initiator = self.first()
        await self.link.send(frame(self.name, RESUME, b""))
        await self.link.send(frame(self.name, HANDSHAKE, field(1, initiator.first)))
        parts = await self.next()
        if HANDSHAKE not in parts:
            return False
        payload, self.channel = initiator.finish(fields(parts[HANDSHAKE])[1])
        self.payload = payload
        return True

    def frames(self, message):
        text = json.dumps(message).encode()
        for seq, record in self.channel.records(text):
            yield frame(self.name, DATA, field(1, seq) + field(3, 1) + field(4, record))

    async def say(self, message):
        for data in self.frames(message):
            await self.link.send(data)

    async def hear(self):
        while not self.pending:
            parts = await self.next()
            assert DATA in parts, parts
            data = fields(parts[DATA])
            assert data.get(1, 0) == self.channel.received, "a record out of order"
            assert data.get(2, 0) == 0 and data[3] == 1 and len(data[4]) <= 61456
            self.pending += [json.loads(message) for message in self.channel.take(data[4])]
        return self.pending.pop(0)

    async def call(self, method, params):
        self.last += 1
        await self.say({"id": self.last, "method": method, "params": params})
        while True:
            message = await self.hear()
            if message.get("id") == self.last:
                return message

    async def greet(self, session=None):
        params = {"clientName": "contract"}
        if session:
            params["resumeSessionId"] = session
        answer = await self.call("initialize", params)
        await self.say({"method": "initialized"})
        return answer["result"]["sessionId"]

    async def raw(self, plaintext):
        seq, record = self.channel.seal(plaintext)
        await self.link.send(frame(self.name, DATA, field(1, seq) + field(3, 1) + field(4, record)))

    async def output(self, process, after=0):
        """Everything a process says until its end, and its exit code."""
        out = b""
        while True:
            params = {"processId": process, "afterSeq": after, "maxBytes": 65536, "waitMs": 1000}
            result = (await self.call("process/read", params))["result"]
            for chunk in result["chunks"]:
                after = chunk["seq"]
                out += base64.b64decode(chunk["chunk"])
            if result["exited"] and not result["chunks"]:
                return out, result["exitCode"]

    async def is_reset(self):
        parts = await self.next()
        while DATA in parts:
            parts = await self.next()
        return RESET in parts and fields(parts[RESET])[1] == b"noise_relay_protocol_error"


def said(what, holds):
    print(("ok   " if holds else "FAIL ") + what, flush=True)
    if not holds:
        sys.exit(1)


async def run(link):
    one = Stream(link)
    opened = await one.open() and one.payload == b""
    said("a stream opens, and its handshake carries no payload", opened)
    name, asked = Registry.validated[-1]
    said(
        "validate names stream, registration and authorization",
        name == one.name
        and asked["executor_registration_id"] == REGISTRATION
        and asked["harness_key_authorization"] == AUTHORIZATION
        and set(asked["harness_public_key"]) == FIELDS,
    )
    session = await one.greet()
    big = base64.b64encode(b"0123456789abcdef" * 65536).decode()
    path = f"file://{FOLDER}/contract.bin"
    answer = await one.call("fs/writeFile", {"path": path, "dataBase64": big})
    said("a megabyte is written", "result" in answer)
    answer = await one.call("fs/readFile", {"path": path})
    said("and read back as it was", answer["result"]["dataBase64"] == big)

    two = Stream(link)
    said("a second stream opens beside it", await two.open())
    await two.greet()
    # Backwards, and each of them twice.
    frames = list(one.frames({"id": 900, "method": "environment/info", "params": {}}))
    frames += list(one.frames({"id": 901, "method": "environment/info", "params": {}}))
    frames += list(one.frames({"id": 902, "method": "environment/info", "params": {}}))
    for data in reversed(frames):
        await link.send(data)
        await link.send(data)
    ids = [(await one.hear())["id"] for _ in range(3)]
    said("records are put in order and repetition is ignored", ids == [900, 901, 902])
    await link.send(b"\xff\xff")
    await link.send(b"")
    await link.send(frame(one.name, HEARTBEAT, b"", version=2))
    await link.send(frame("", HEARTBEAT, b""))
    await link.websocket.send("text")
    await link.send(frame(one.name, HANDSHAKE, field(1, one.first().first)))
    answer = await one.call("environment/info", {})
    said("junk, texts and a second handshake end nothing", "result" in answer)
    answer = await two.call("environment/info", {})
    said("nobody else heard of it", "result" in answer and not link.stray)

    stranger = Stream(link)
    await link.send(frame(stranger.name, DATA, field(1, 0) + field(3, 1) + field(4, b"x" * 40)))
    said("data on a stream that is none is reset", await stranger.is_reset())
    for what, initiator in [
        ("made for another registration", stranger.first(registration="other")),
        ("made for another stream", stranger.first(name="other")),
    ]:
        await link.send(frame(stranger.name, HANDSHAKE, field(1, initiator.first)))
        said(f"a handshake {what} is reset", await stranger.is_reset())
    refusals = [(status, {}) for status in (200, 400, 404, 410, 500)]
    for answer in [(200, {"valid": False}), (503, {}), *refusals]:
        Registry.validate_answers.append(answer)
        refused = Stream(link)
        initiator = refused.first()
        await link.send(frame(refused.name, HANDSHAKE, field(1, initiator.first)))
        said(f"validate {answer} is a reset", await refused.is_reset())
    Registry.validate_answers.append((None, {}))
    unjudged = Stream(link)
    began = time.monotonic()
    await link.send(frame(unjudged.name, HANDSHAKE, field(1, unjudged.first().first)))
    is_reset = await unjudged.is_reset()
    said("validate without an answer is a reset", is_reset and time.monotonic() - began > 9)
    asked = [name for name, _ in Registry.validated if name == unjudged.name]
    said("and is not asked again", len(asked) == 1)
    Registry.validate_answers.append((401, {}))
    rejected = Stream(link)
    await rejected.open()
    said("validate 401 is told inside the handshake", rejected.payload == sealed.REJECTED)

    for what, plaintext in [
        ("a record that is too long", b"x" * 61441),
        ("a message of no bytes", b"\0\0\0\0"),
        ("a message above 64 MiB", b"\x04\0\0\x01x"),
    ]:
        limit = Stream(link)
        assert await limit.open()
        await limit.raw(plaintext)
        said(f"{what} ends its stream", await limit.is_reset())
    answer = await one.call("environment/info", {})
    said("and no other", "result" in answer)

    start = {
        "processId": "p",
        "argv": ["sh", "-c", LINES],
        "cwd": "file:///",
        "env": {"PATH": "/usr/bin:/bin"},
        "tty": False,
        "pipeStdin": False,
        "arg0": None,
    }
    said("a process starts", "result" in await one.call("process/start", start))
    await link.send(frame(one.name, RESET, field(1, b"gone")))
    three = Stream(link)
    said("a third stream opens", await three.open())
    said("and resumes the session that was reset away", await three.greet(session) == session)
    out, _ = await three.output("p")
    said("no line is lost or doubled", out == b"".join(b"%d\n" % i for i in range(1, 201)))

    script = f"read word; echo {MARKER} $word; exit 7"
    typed = {**start, "processId": "t", "argv": ["sh", "-c", script], "pipeStdin": True}
    assert "result" in await three.call("process/start", typed)
    chunk = base64.b64encode(b"typed\n").decode()
    params = {"processId": "t", "chunk": chunk, "writeId": "w"}
    assert "result" in await three.call("process/write", params)
    out, code = await three.output("t")
    said("a process reads, and its exit code is told", (out, code) == (f"{MARKER} typed\n".encode(), 7))
    long = {**start, "processId": "long", "argv": ["sh", "-c", LONG]}
    assert "result" in await three.call("process/start", long)
    return session


async def resume(link, session, call):
    stream = Stream(link)
    assert await stream.open()
    # The executor may not know yet that the former connection is gone.
    for _ in range(100):
        params = {"clientName": "contract", "resumeSessionId": session}
        answer = await stream.call("initialize", params)
        if answer.get("error", {}).get("code") != -32010:
            break
        await asyncio.sleep(0.05)
    resumed = answer.get("result", {}).get("sessionId") == session
    await stream.say({"method": "initialized"})
    said(f"after {call} the executor comes back and the session is taken up", resumed)
    return stream


async def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # Briefly away at the start: the executor has to ask again.
    Registry.register_answers += [503, 429]
    done = asyncio.get_running_loop().create_future()
    upgrades, links = [], []

    def upgrade(connection, request):
        upgrades.append((request, len(Registry.registered)))
        # The relay wants a new registration, twice, and is then overloaded.
        refusals = {1: 410, 2: 401, 3: 503}
        if len(upgrades) in refusals:
            return connection.respond(refusals[len(upgrades)], "no\n")

    async def serve(websocket):
        loop = asyncio.get_running_loop()
        link = Link(websocket, Registry.registered[-1]["executor_public_key"])
        reading = asyncio.create_task(link.read())
        began = loop.time()
        links.append(began)
        try:
            if len(links) == 1:
                links[0] = (await run(link), None)
                # Ten seconds of health, and the pauses begin anew.
                await asyncio.sleep(max(0, began + 10.5 - loop.time()))
                links[0] = (links[0][0], loop.time())
                websocket.transport.abort()
            elif len(links) == 2:
                session, cut = links[0]
                said("after a healthy connection the pause is short again", began - cut < 2)
                await resume(link, session, "a cut")
                await websocket.close(1012)
            elif len(links) == 3:
                await resume(link, links[0][0], "a clean close")
                await link.send(b"\0" * 200050)
                answer = await Stream(link).open()
                said("a message of 200050 bytes is borne", answer)
                await link.send(b"\0" * 300050)
                await asyncio.wait_for(websocket.wait_closed(), 20)
            else:
                stream = await resume(link, links[0][0], "a message of 300050 bytes")
                out, code = await stream.output("long")
                lines = b"".join(b"%d\n" % i for i in range(1, 501))
                said("every line of all that came, once", (out, code) == (lines, 0))
                done.set_result(None)
        except BaseException as error:
            if not done.done():
                done.set_exception(error)
        reading.cancel()

    options = {"process_request": upgrade, "max_size": None, "compression": None}
    async with websockets.serve(serve, "127.0.0.1", 0, **options) as relay:
        Registry.relay = relay.sockets[0].getsockname()[1]
        print(f"http://127.0.0.1:{server.server_port}/base/", flush=True)
        await asyncio.wait_for(done, 100)
    request, _ = upgrades[-1]
    said("the URL was dialled byte for byte", request.path == PATH)
    said(
        "the upgrade has a request id and no credential",
        request.headers["x-request-id"].startswith("req_")
        and "authorization" not in request.headers,
    )
    key = Registry.registered[0]["executor_public_key"]
    same = all(body["executor_public_key"] == key for body in Registry.registered)
    said("its key stays the same", same)
    said(
        "it registered with what the contract has, and again when that was wanted",
        len(Registry.registered) == 5
        and set(Registry.registered[0]) == {"security_profile", "executor_public_key"}
        and set(key) == FIELDS
        and key["suite"] == SUITE,
    )


    counts = [count for _, count in upgrades]
    said("410 and 401 of the relay lead to a registration, 503 does not", counts[:4] == [3, 4, 5, 5])
    said("nor does the loss of a connection", counts[3:] == [5] * len(counts[3:]))
    seen = b"".join(Link.seen)
    hidden = MARKER.encode() not in seen
    for shift in range(3):
        text = base64.b64encode(b" " * shift + MARKER.encode())
        hidden &= text[4:-8] not in seen
    said("nobody on the relay could read any of it", hidden)


asyncio.run(main())
