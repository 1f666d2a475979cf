"""The encrypted channel of a rendezvous stream, written a second time.

Hybrid IK of X25519 and ML-KEM-768 with AES-256-GCM and SHA-256, from the papers alone: FIPS 203,
RFC 7748, NIST SP 800-38D and the Noise specification. It shares no line with the product, so that a
mistake has to be made twice to go unseen. Slow, and safe for nothing but tests.
"""

import hashlib
import hmac
import os
import struct

NAME = b"Noise_hybridIK_25519+MLKEM768_AESGCM_SHA256"
CONTEXT = b"codex-exec-server-relay-noise/v1"
REJECTED = b"codex-registry-authentication-rejected/v1"
RECORD_MAX = 61440


# --- X25519 (RFC 7748) ---

P = 2**255 - 19


def x25519(scalar, point):
    k = int.from_bytes(scalar, "little") & ~(7 | 1 << 255) | 1 << 254
    x1 = int.from_bytes(point, "little") & ((1 << 255) - 1)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for bit in range(254, -1, -1):
        now = k >> bit & 1
        if swap ^ now:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = now
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a % P, c * b % P, a * a % P, b * b % P
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
    if swap:
        x2, x3, z2, z3 = x3, x2, z3, z2
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


BASE = (9).to_bytes(32, "little")


# --- ML-KEM-768 (FIPS 203) ---

Q, K, DU, DV = 3329, 3, 10, 4


def _reversed(i):
    return int(f"{i:07b}"[::-1], 2)


ZETAS = [pow(17, _reversed(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * _reversed(i) + 1, Q) for i in range(128)]


def ntt(f):
    f, i, length = list(f), 1, 128
    while length >= 2:
        for start in range(0, 256, 2 * length):
            zeta, i = ZETAS[i], i + 1
            for j in range(start, start + length):
                t = zeta * f[j + length] % Q
                f[j + length], f[j] = (f[j] - t) % Q, (f[j] + t) % Q
        length //= 2
    return f


def untt(f):
    f, i, length = list(f), 127, 2
    while length <= 128:
        for start in range(0, 256, 2 * length):
            zeta, i = ZETAS[i], i - 1
            for j in range(start, start + length):
                t = f[j]
                f[j], f[j + length] = (t + f[j + length]) % Q, zeta * (f[j + length] - t) % Q
        length *= 2
    return [x * 3303 % Q for x in f]


def times(f, g):
    h = [0] * 256
    for i in range(128):
        a0, a1, b0, b1 = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        h[2 * i] = (a0 * b0 + a1 * b1 * GAMMAS[i]) % Q
        h[2 * i + 1] = (a0 * b1 + a1 * b0) % Q
    return h


def plus(f, g):
    return [(a + b) % Q for a, b in zip(f, g)]


def dot(fs, gs):
    total = [0] * 256
    for f, g in zip(fs, gs):
        total = plus(total, times(f, g))
    return total


def sample_ntt(seed):
    stream = hashlib.shake_128(seed).digest(168 * 8)
    out = []
    for i in range(0, len(stream), 3):
        a, b, c = stream[i : i + 3]
        for d in (a + 256 * (b % 16), b // 16 + 16 * c):
            if d < Q and len(out) < 256:
                out.append(d)
    assert len(out) == 256
    return out


def sample_cbd(seed, n):
    stream = hashlib.shake_256(seed + bytes([n])).digest(128)
    bits = [byte >> i & 1 for byte in stream for i in range(8)]
    return [
        (bits[4 * i] + bits[4 * i + 1] - bits[4 * i + 2] - bits[4 * i + 3]) % Q for i in range(256)
    ]


def pack(f, d):
    total = 0
    for i, x in enumerate(f):
        total |= x << d * i
    return total.to_bytes(32 * d, "little")


def unpack(data, d):
    total = int.from_bytes(data, "little")
    return [total >> d * i & (1 << d) - 1 for i in range(256)]


def squeeze(f, d):
    return [((x << d) + Q // 2) // Q % (1 << d) for x in f]


def widen(f, d):
    return [(x * Q + (1 << d - 1)) >> d for x in f]


def _g(data):
    digest = hashlib.sha3_512(data).digest()
    return digest[:32], digest[32:]


def _matrix(rho):
    return [[sample_ntt(rho + bytes([j, i])) for j in range(K)] for i in range(K)]


def mlkem_keys(d=None, z=None):
    """An encapsulation and a decapsulation key."""
    d, z = d or os.urandom(32), z or os.urandom(32)
    rho, sigma = _g(d + bytes([K]))
    a = _matrix(rho)
    s = [ntt(sample_cbd(sigma, n)) for n in range(K)]
    e = [ntt(sample_cbd(sigma, K + n)) for n in range(K)]
    t = [plus(dot(a[i], s), e[i]) for i in range(K)]
    ek = b"".join(pack(f, 12) for f in t) + rho
    dk = b"".join(pack(f, 12) for f in s) + ek + hashlib.sha3_256(ek).digest() + z
    return ek, dk


def _encrypt(ek, message, r):
    t = [unpack(ek[384 * i : 384 * (i + 1)], 12) for i in range(K)]
    a = _matrix(ek[384 * K :])
    y = [ntt(sample_cbd(r, n)) for n in range(K)]
    e1 = [sample_cbd(r, K + n) for n in range(K)]
    e2 = sample_cbd(r, 2 * K)
    u = [plus(untt(dot([a[j][i] for j in range(K)], y)), e1[i]) for i in range(K)]
    v = plus(plus(untt(dot(t, y)), e2), widen(unpack(message, 1), 1))
    return b"".join(pack(squeeze(f, DU), DU) for f in u) + pack(squeeze(v, DV), DV)


def encapsulate(ek, message=None):
    message = message or os.urandom(32)
    shared, r = _g(message + hashlib.sha3_256(ek).digest())
    return _encrypt(ek, message, r), shared


def decapsulate(dk, ct):
    s = [unpack(dk[384 * i : 384 * (i + 1)], 12) for i in range(K)]
    ek, h, z = dk[384 * K : 768 * K + 32], dk[768 * K + 32 : 768 * K + 64], dk[768 * K + 64 :]
    u = [widen(unpack(ct[320 * i : 320 * (i + 1)], DU), DU) for i in range(K)]
    v = widen(unpack(ct[320 * K :], DV), DV)
    w = [(a - b) % Q for a, b in zip(v, untt(dot(s, [ntt(f) for f in u])))]
    message = pack(squeeze(w, 1), 1)
    shared, r = _g(message + h)
    if _encrypt(ek, message, r) != ct:
        return hashlib.shake_256(z + ct).digest(32)
    return shared


# --- AES-256-GCM ---


def _boxes():
    box, p, q = [0] * 256, 1, 1
    while True:
        p ^= p << 1 & 0xFF ^ (0x1B if p & 0x80 else 0)
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q &= 0xFF
        if q & 0x80:
            q ^= 0x09
        x = q ^ (q << 1 | q >> 7) ^ (q << 2 | q >> 6) ^ (q << 3 | q >> 5) ^ (q << 4 | q >> 4)
        box[p] = (x ^ 0x63) & 0xFF
        if p == 1:
            break
    box[0] = 0x63
    return box


SBOX = _boxes()


def _twice(x):
    return (x << 1) ^ (0x11B if x & 0x80 else 0)


_T = []
for _r in range(4):
    _column = []
    for _x in SBOX:
        word = _twice(_x) << 24 | _x << 16 | _x << 8 | (_twice(_x) ^ _x)
        _column.append((word >> 8 * _r | word << 32 - 8 * _r) & 0xFFFFFFFF)
    _T.append(_column)


class Aes:
    def __init__(self, key):
        words = list(struct.unpack(">8I", key))
        rcon = 1
        for i in range(8, 60):
            t = words[-1]
            if i % 8 == 0:
                t = (t << 8 | t >> 24) & 0xFFFFFFFF
            if i % 4 == 0:
                t = sum(SBOX[t >> s & 255] << s for s in (24, 16, 8, 0))
            if i % 8 == 0:
                t ^= rcon << 24
                rcon = _twice(rcon)
            words.append(words[-8] ^ t)
        self.keys = words

    def block(self, block):
        k = self.keys
        w = [a ^ b for a, b in zip(struct.unpack(">4I", block), k)]
        t0, t1, t2, t3 = _T
        for r in range(4, 56, 4):
            w = [
                t0[w[i] >> 24]
                ^ t1[w[(i + 1) % 4] >> 16 & 255]
                ^ t2[w[(i + 2) % 4] >> 8 & 255]
                ^ t3[w[(i + 3) % 4] & 255]
                ^ k[r + i]
                for i in range(4)
            ]
        out = [
            (
                SBOX[w[i] >> 24] << 24
                | SBOX[w[(i + 1) % 4] >> 16 & 255] << 16
                | SBOX[w[(i + 2) % 4] >> 8 & 255] << 8
                | SBOX[w[(i + 3) % 4] & 255]
            )
            ^ k[56 + i]
            for i in range(4)
        ]
        return struct.pack(">4I", *out)


class Gcm:
    def __init__(self, key):
        self.aes = Aes(key)
        h = int.from_bytes(self.aes.block(bytes(16)), "big")
        # What each value of each byte is worth, so that one multiplication is 16 look-ups.
        powers = []
        for _ in range(128):
            powers.append(h)
            h = h >> 1 ^ (0xE1 << 120 if h & 1 else 0)
        self.table = []
        for at in range(16):
            row = [0] * 256
            for value in range(1, 256):
                low = value & -value
                row[value] = row[value ^ low] ^ powers[8 * at + 7 - (low.bit_length() - 1)]
            self.table.append(row)

    def _ghash(self, data):
        y = 0
        for i in range(0, len(data), 16):
            y ^= int.from_bytes(data[i : i + 16], "big")
            block, y = y.to_bytes(16, "big"), 0
            for row, byte in zip(self.table, block):
                y ^= row[byte]
        return y.to_bytes(16, "big")

    def _stream(self, nonce, length):
        counter = range(2, 2 + -(-length // 16))
        return b"".join(self.aes.block(nonce + n.to_bytes(4, "big")) for n in counter)[:length]

    def _tag(self, nonce, aad, text):
        pad = lambda data: data + bytes(-len(data) % 16)
        data = pad(aad) + pad(text) + struct.pack(">2Q", 8 * len(aad), 8 * len(text))
        return _xor(self._ghash(data), self.aes.block(nonce + b"\0\0\0\1"))

    def seal(self, counter, aad, text):
        nonce = bytes(4) + counter.to_bytes(8, "big")
        text = _xor(text, self._stream(nonce, len(text)))
        return text + self._tag(nonce, aad, text)

    def open(self, counter, aad, sealed):
        nonce = bytes(4) + counter.to_bytes(8, "big")
        text, tag = sealed[:-16], sealed[-16:]
        if len(sealed) < 16 or not hmac.compare_digest(tag, self._tag(nonce, aad, text)):
            raise ValueError("not authentic")
        return _xor(text, self._stream(nonce, len(text)))


def _xor(a, b):
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).to_bytes(len(a), "big")


# --- The handshake ---


class Keys:
    """A static or ephemeral pair of both kinds."""

    def __init__(self, seed=None):
        part = lambda n: hashlib.sha256(seed + bytes([n])).digest() if seed else os.urandom(32)
        self.dh = part(0)
        self.dh_public = x25519(self.dh, BASE)
        self.kem_public, self.kem = mlkem_keys(part(1), part(2))


class State:
    def __init__(self, environment, registration, stream, dh_public, kem_public):
        self.h = self.ck = hashlib.sha256(NAME).digest()
        self.cipher, self.n = None, 0
        parts = [CONTEXT] + [part.encode() for part in (environment, registration, stream)]
        self.mix(b"".join(struct.pack(">Q", len(part)) + part for part in parts))
        self.mix(dh_public)
        self.mix(kem_public)

    def mix(self, data):
        self.h = hashlib.sha256(self.h + data).digest()

    def _hkdf(self, secret, count):
        temp = hmac.digest(self.ck, secret, "sha256")
        out, last = [], b""
        for n in range(1, count + 1):
            last = hmac.digest(temp, last + bytes([n]), "sha256")
            out.append(last)
        return out

    def key(self, secret):
        self.ck, key = self._hkdf(secret, 2)
        self.cipher, self.n = Gcm(key), 0

    def key_and_hash(self, secret):
        self.ck, mixed, key = self._hkdf(secret, 3)
        self.mix(mixed)
        self.cipher, self.n = Gcm(key), 0

    def seal(self, text):
        sealed = text
        if self.cipher:
            sealed = self.cipher.seal(self.n, self.h, text)
            self.n += 1
        self.mix(sealed)
        return sealed

    def open(self, sealed):
        text = sealed
        if self.cipher:
            text = self.cipher.open(self.n, self.h, sealed)
            self.n += 1
        self.mix(sealed)
        return text

    def split(self):
        return [Gcm(key) for key in self._hkdf(b"", 2)]


class Initiator:
    def __init__(self, keys, dh_public, kem_public, binding, authorization, seed=None):
        part = lambda n: hashlib.sha256(seed + bytes([n])).digest() if seed else None
        self.s, self.e = keys, Keys(part(7))
        state = self.state = State(*binding, dh_public, kem_public)
        ct, shared = encapsulate(kem_public, part(8))
        self.first = state.seal(ct)
        state.key_and_hash(shared)
        for public in (self.e.dh_public, self.e.kem_public):
            state.mix(public)
            self.first += public
        state.key(x25519(self.e.dh, dh_public))
        self.first += state.seal(keys.dh_public) + state.seal(keys.kem_public)
        state.key(x25519(keys.dh, dh_public))
        self.first += state.seal(authorization.encode())

    def finish(self, message):
        """The payload, and the channel."""
        state, at = self.state, 0

        def take(count):
            nonlocal at
            at += count
            return message[at - count : at]

        ct = take(1088)
        state.mix(ct)
        state.key(decapsulate(self.e.kem, ct))
        state.key_and_hash(decapsulate(self.s.kem, state.open(take(1104))))
        dh, kem = take(32), take(1184)
        state.mix(dh)
        state.mix(kem)
        state.key(x25519(self.e.dh, dh))
        state.key(x25519(self.s.dh, dh))
        payload = state.open(message[at:])
        send, receive = state.split()
        return payload, Channel(send, receive)


class Channel:
    def __init__(self, send, receive):
        self.send, self.receive = send, receive
        self.sent = self.received = 0
        self.opened = b""

    def seal(self, plaintext):
        """One record, and its number."""
        seq, self.sent = self.sent, self.sent + 1
        return seq, self.send.seal(seq, b"", plaintext)

    def records(self, message):
        """A message as numbered records."""
        data = struct.pack(">I", len(message)) + message
        return [self.seal(data[i : i + RECORD_MAX]) for i in range(0, len(data), RECORD_MAX)]

    def take(self, record):
        """Opens the next record; returns the messages that are whole with it."""
        self.opened += self.receive.open(self.received, b"", record)
        self.received += 1
        whole = []
        while len(self.opened) >= 4:
            (length,) = struct.unpack(">I", self.opened[:4])
            if len(self.opened) < 4 + length:
                break
            whole.append(self.opened[4 : 4 + length])
            self.opened = self.opened[4 + length :]
        return whole


def vectors():
    """What `protocol/src/noise/handshake/vectors.json` holds: one message 1, from fixed randomness."""
    executor, harness = Keys(b"executor"), Keys(b"harness")
    binding = ("env-one", "registration-1", "09f1cd6a-0570-47b5-b312-bb4aa134314a")
    initiator = Initiator(
        harness, executor.dh_public, executor.kem_public, binding, "welcome", b"ephemeral"
    )
    return {
        "environment": binding[0],
        "registration": binding[1],
        "stream": binding[2],
        "authorization": "welcome",
        "executorX25519": executor.dh.hex(),
        "executorMlkem768": executor.kem.hex(),
        "harnessX25519Public": harness.dh_public.hex(),
        "harnessMlkem768Public": harness.kem_public.hex(),
        "message1": initiator.first.hex(),
    }


if __name__ == "__main__":
    import json

    print(json.dumps(vectors(), indent=1))
