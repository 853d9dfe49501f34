#!/usr/bin/env python3
"""A second verifier for vm-obs ledgers and proof files, written from docs/format/ledger.md and
vmproof.md alone.

    verify.py [DIR|FILE.vmproof] [--policy F] [--log-key VKEY|F]... [--require-witness] [--state F]
              [--actors F] [--from T] [--to T] [--expect-until T] [--receipts-only] [--files]
              [--cosigned-within 10m] [--cold DIR]

Python 3.11 and its standard library are enough. The PyPI module `blake3`, where installed, only
makes it faster (the code below hashes about 0.3 MB/s). It writes nothing, the --state file
neither. Exit codes and findings are those of the format page. The records
inside sealed files are not checked.
"""
import base64, datetime, hashlib, json, os, re, sys

CLASS = {}
for _exit, _names in {
    1: "UNSIGNED BAD_LOG_SIGNATURE CHECKPOINT_MALFORMED WRONG_ORIGIN TRUNCATED ROOT_MISMATCH NOT_CANONICAL "
       "SEQ_ORDER ROOT_HASH_MISMATCH TIMESTAMP_BACKWARDS ROOT_FILE_MISMATCH INCONSISTENT_WITH_STATE ROLLBACK "
       "KEY_CHAIN_BROKEN KEY_NOT_VALID CONTRACT_INVALID ACTOR_REVOKED CONTENT_MISMATCH SIZE_MISMATCH DUPLICATE_SEAL SEAL_LINK_BROKEN SEALED_TOO_EARLY BAD_PATH "
       "PROOF_MALFORMED PROOF_MISMATCH RECORDS_MISMATCH",
    2: "NOTHING_VERIFIED CHECKPOINT_MISSING LOG_MISSING NO_LOG_KEY ROOT_FILE_MISSING PERIOD_GAP FILE_MISSING "
       "SEAL_INCOMPLETE UNKNOWN_VERSION ACTOR_UNKNOWN COLD_NOT_CHECKED",
    3: "KEY_SIGNATURE_MISSING WITNESS_QUORUM_MISSING BAD_WITNESS_SIGNATURE WITNESS_STALE", 5: "IO_ERROR"}.items():
    CLASS.update(dict.fromkeys(_names.split(), _exit))
FOUND = []  # (code, detail); codes that are not in CLASS are notes

def find(code, detail=""): FOUND.append((code, detail))
class Usage(Exception): pass  # exit 4

# --- BLAKE3 (unkeyed) -----------------------------------------------------------------------
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
ORDER = [list(range(16))]
for _ in range(6):
    ORDER.append([ORDER[-1][i] for i in (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)])
LANES = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
         (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))

def compress(cv, block, counter, length, flags):
    m = [int.from_bytes(block[i:i + 4], "little") for i in range(0, 64, 4)]
    v, mask = [*cv, *IV[:4], counter & 0xFFFFFFFF, counter >> 32, length, flags], 0xFFFFFFFF
    for order in ORDER:
        for lane, (a, b, c, d) in enumerate(LANES):
            for word, turn, back in ((m[order[2 * lane]], 16, 12), (m[order[2 * lane + 1]], 8, 7)):
                v[a] = (v[a] + v[b] + word) & mask
                x = v[d] ^ v[a]; v[d] = (x >> turn | x << (32 - turn)) & mask
                v[c] = (v[c] + v[d]) & mask
                x = v[b] ^ v[c]; v[b] = (x >> back | x << (32 - back)) & mask
    return [v[i] ^ v[i + 8] for i in range(8)]

def blake3_node(data, chunk, root):
    """Chaining value of the subtree over `data`, whose first chunk has number `chunk`."""
    if len(data) > 1024:
        split = 1024 << ((len(data) - 1) // 1024).bit_length() - 1
        words = blake3_node(data[:split], chunk, 0) + blake3_node(data[split:], chunk + split // 1024, 0)
        return compress(IV, b"".join(w.to_bytes(4, "little") for w in words), 0, 64, 4 | root)
    cv, blocks = IV, [data[i:i + 64] for i in range(0, len(data), 64)] or [b""]
    for i, block in enumerate(blocks):
        last = i == len(blocks) - 1
        flags = (i == 0) | (2 | root if last else 0)
        cv = compress(cv, block.ljust(64, b"\0"), chunk, len(block), flags)
    return cv

def blake3_plain(data): return b"".join(w.to_bytes(4, "little") for w in blake3_node(data, 0, 8))
try:
    from blake3 import blake3 as _fast
    def blake3(data): return _fast(data).digest()
except ImportError:
    blake3 = blake3_plain
def sha256(data): return hashlib.sha256(data).digest()

# --- Ed25519, strict ------------------------------------------------------------------------
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P

def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P
def mul(n, p):
    q = (0, 1, 1, 0)
    while n:
        if n & 1: q = add(q, p)
        p, n = add(p, p), n >> 1
    return q
def same(p, q): return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0
def point(raw):
    n = int.from_bytes(raw, "little"); y, sign = n & (2**255 - 1), n >> 255
    x2 = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P: x = x * pow(2, (P - 1) // 4, P) % P
    if len(raw) != 32 or y >= P or (x * x - x2) % P or (x == 0 and sign): return None
    if x & 1 != sign: x = P - x
    p = (x, y, 1, x * y % P)
    return None if same(mul(8, p), (0, 1, 1, 0)) else p  # canonical, and not of small order
BASE = point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
def ed25519(key, message, sig):
    a, r, s = point(key), point(sig[:32]) if len(sig) == 64 else None, int.from_bytes(sig[32:], "little")
    if a is None or r is None or s >= L: return False
    k = int.from_bytes(hashlib.sha512(sig[:32] + key + message).digest(), "little") % L
    return same(mul(s, BASE), add(r, mul(k, a)))

# --- Canonical JSON (RFC 8785) --------------------------------------------------------------
def number(x):
    if isinstance(x, int):
        if abs(x) > 2**53 - 1: raise ValueError("integer beyond 2^53 - 1")
        return str(x)
    if x != x or x in (float("inf"), float("-inf")): raise ValueError("not finite")
    if x == 0: return "0"
    mantissa, _, exp = repr(abs(x)).partition("e")
    whole, _, part = mantissa.partition(".")
    digits = (whole + part).lstrip("0")
    n = len(whole) + int(exp or 0) - (len(whole + part) - len(digits))  # value is 0.digits * 10^n
    digits = digits.rstrip("0"); k = len(digits)
    if k <= n <= 21: out = digits + "0" * (n - k)
    elif 0 < n <= 21: out = digits[:n] + "." + digits[n:]
    elif -6 < n <= 0: out = "0." + "0" * -n + digits
    else: out = digits[0] + ("." + digits[1:] if k > 1 else "") + "e" + "%+d" % (n - 1)
    return "-" + out if x < 0 else out
def canonical(v):
    if v is None or isinstance(v, bool): return {None: "null", True: "true", False: "false"}[v]
    if isinstance(v, (int, float)): return number(v)
    if isinstance(v, str): return json.dumps(v, ensure_ascii=False)
    if isinstance(v, list): return "[" + ",".join(map(canonical, v)) + "]"
    keys = sorted(v, key=lambda k: k.encode("utf-16-be"))
    return "{" + ",".join(canonical(k) + ":" + canonical(v[k]) for k in keys) + "}"
def parse_line(line):
    if len(line) > 65535: raise ValueError("longer than 65,535 bytes")
    v = json.loads(line.decode())
    if not isinstance(v, dict) or canonical(v).encode() != line: raise ValueError("not the canonical form")
    return v

# --- Trees, notes, policy -------------------------------------------------------------------
class Tree:
    """RFC 6962 over some hash: roots of complete subtrees, from the largest to the smallest."""
    def __init__(self, h): self.h, self.size, self.peaks = h, 0, []
    def push(self, line):
        node, n = self.h(b"\0" + line), self.size
        while n & 1: node, n = self.h(b"\1" + self.peaks.pop() + node), n >> 1
        self.peaks.append(node); self.size += 1
    def root(self):
        if not self.peaks: return self.h(b"")
        node = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]): node = self.h(b"\1" + peak + node)
        return node

def b64(text):
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text: raise ValueError("loose base64")
    return raw
def vkey(text, algorithm):
    name, key_id, key = text.strip().split("+", 2)
    raw = b64(key)
    want = sha256(name.encode() + b"\n" + raw)[:4]
    if raw[0] != algorithm or len(raw) != 33 or key_id != want.hex(): raise ValueError("bad key " + text)
    return name, want, raw[1:]
def note(raw):
    """Text, [(name, id, signature)], origin, size, root; ValueError if it is no checkpoint."""
    text, _, lines = raw.decode().rpartition("\n\n")
    sigs = []
    if not text or (lines and not lines.endswith("\n")): raise ValueError("not a signed note")
    for line in lines.split("\n")[:-1]:
        dash, name, data = line.split(" ")
        if dash != "\u2014" or len(b64(data)) < 5: raise ValueError("bad signature line")
        sigs.append((name, b64(data)[:4], b64(data)[4:]))
    origin, size, root = text.split("\n")[:3]
    if not origin or not re.fullmatch(r"0|[1-9]\d*", size, re.A) or len(b64(root)) != 32: raise ValueError("bad body")
    return (text + "\n").encode(), sigs, origin, int(size), b64(root)

class Policy:
    def __init__(self): self.logs, self.witnesses, self.groups, self.quorum = [], {}, {}, None
    @staticmethod
    def parse(text):
        p, quorums = Policy(), 0
        for words in (line.split() for line in text.splitlines()):
            if not words or words[0].startswith("#"): continue
            if words[0] == "log": p.logs.append(vkey(words[1], 1))
            elif words[0] == "witness": p.witnesses[words[1]] = vkey(words[2], 4)
            elif words[0] == "group":
                need = {"any": 1, "all": len(words) - 3}.get(words[2]) or int(words[2])
                if not 1 <= need <= len(words) - 3: raise ValueError("group threshold")
                p.groups[words[1]] = need, [p.known(m) for m in words[3:]]
            elif words[0] == "quorum":
                quorums, p.quorum = quorums + 1, None if words[1] == "none" else p.known(words[1])
            else: raise ValueError("line " + words[0])
        if quorums != 1 or not p.logs: raise ValueError("needs one quorum line and a log line")
        return p
    def known(self, name):
        if name not in self.witnesses and name not in self.groups: raise ValueError("unknown " + name)
        return name
    def met(self, name, cosigned):
        if name is None or name in cosigned: return True
        need, members = self.groups.get(name, (1, []))
        return sum(self.met(m, cosigned) for m in members) >= need

class Keys:
    """The log's keys in the order in which they followed each other: [key, until, revoked at]."""
    def __init__(self): self.chain = []
    def receipt(self, r, seq, origin):
        def text(name):
            if not isinstance(r.get(name), str): raise ValueError(name)
            return r[name]
        def key(name):
            k = vkey(text(name), 1)
            if k[0] != origin or text(name) != text(name).strip(): raise ValueError(name)
            return k
        def signed(k, body, name):
            if not ed25519(k[2], body.encode(), b64(text(name))): raise ValueError(name)
        if r.get("type") not in ("obs_key_rotate", "obs_key_revoke"): return
        size, reason = text("size"), text("reason")
        if not reason or any(ord(c) < 32 or 127 <= ord(c) < 160 for c in reason) or decimal(size) > seq: raise ValueError("statement")
        tail = f"size {size}\nreason {reason}\n"
        if r["type"] == "obs_key_rotate":
            old, new, until = key("old_key"), key("new_key"), when(r.get("overlap_until"))
            body = (f"vm-obs key-rotation v1\norigin {origin}\nold {text('old_key')}\nnew {text('new_key')}\n"
                    f"overlap-until {text('overlap_until')}\n{tail}")
            signed(old, body, "signature_old"); signed(new, body, "signature_new")
            if until is None or old == new or new in [k[0] for k in self.chain]: raise ValueError("rotation")
            if not self.chain: self.chain = [[old, None, None]]
            if self.chain[-1][0] != old: raise ValueError("not the current key")
            self.chain[-1][1] = until; self.chain.append([new, None, None])
        else:
            if not self.chain: raise ValueError("no key was followed yet")
            signed(self.chain[-1][0], f"vm-obs key-revocation v1\norigin {origin}\nkey {text('key')}\n{tail}", "signature")
            gone = key("key")
            if gone not in [k[0] for k in self.chain[:-1]]: raise ValueError("not an earlier key")
            for k in self.chain:
                if k[0] == gone and k[2] is None: k[2] = seq
    def trusted(self, pinned):
        first = min((i for i, k in enumerate(self.chain) if k[0] in pinned), default=len(self.chain))
        return pinned + [k[0] for k in self.chain[first:] if k[0] not in pinned]
    def counts(self, name, key_id, size, last):
        for (n, i, _), until, revoked in self.chain:
            if (n, i) == (name, key_id):
                return not (revoked is not None and revoked < size) and not (None not in (until, last) and last > until)
        return not self.chain or self.chain[0][0][0] != name

def check_log_signature(ck, policy, keys, last=None):
    text, sigs, origin, size = ck[:4]
    good = bad = old = False
    trusted, held = keys.trusted(policy.logs), set()
    for name, key_id, sig in sigs:
        for key_name, want, key in trusted + [k[0] for k in keys.chain if k[0] not in trusted]:
            if (name, key_id) == (key_name, want):
                held.add(key_id)
                if not ed25519(key, text, sig): bad = True
                elif (key_name, want, key) not in trusted: continue
                elif not keys.counts(name, key_id, size, last): old = True
                else:
                    good = True
                    if name != origin: find("WRONG_ORIGIN", f"{origin} signed by {name}")
    names = {origin} | {k[0] for k in policy.logs}
    due = [k[0][1] for i, k in enumerate(reversed(keys.chain)) if i == 0 or i == 1 and k[2] is None and last is not None and last <= k[1]]
    if not bad and (good or old) and last is not None and not set(due) <= held: find("KEY_SIGNATURE_MISSING")
    if old and not good and not bad: find("KEY_NOT_VALID")
    elif bad or not good:
        find("BAD_LOG_SIGNATURE" if bad or any(s[0] in names for s in sigs) else "UNSIGNED")
    return good and not bad
def cosigned_by(ck, policy):
    """Unix seconds of each witness of the policy that has cosigned."""
    text, sigs, out = ck[0], ck[1], {}
    for label, (name, key_id, key) in policy.witnesses.items():
        for sig in (s[2] for s in sigs if s[:2] == (name, key_id)):
            head = b"cosignature/v1\ntime %d\n" % int.from_bytes(sig[:8], "big")
            if ed25519(key, head + text, sig[8:]): out[label] = int.from_bytes(sig[:8], "big")
            else: find("BAD_WITNESS_SIGNATURE", name)
    return out
def check_signatures(ck, policy, require_witness, older=None, keys=None, last=None):
    """Whether the log signed; and whether the cosignatures are those of the older checkpoint."""
    keys = keys or Keys()
    signed, late = check_log_signature(ck, policy, keys, last), {}
    if older: check_log_signature(older, policy, keys); late = cosigned_by(older, policy)
    by = cosigned_by(ck, policy)
    met = lambda c: bool(c) and policy.met(policy.quorum, set(c))
    if not met(by) and met(late): return signed, max(late.values())
    if not policy.met(policy.quorum, set(by)) or (require_witness and not by): find("WITNESS_QUORUM_MISSING")
    elif not by: find("UNWITNESSED")
    return signed, None

# --- Contracts of actors --------------------------------------------------------------------
DECIDED = {("obs_alert_ack", "alert_acknowledge"): "alert_id comment escalation_suppressed follow_up_required follow_up_deadline",
           ("obs_silence", "alert_silence"): "matchers starts_at ends_at reason",
           ("obs_silence", "alert_silence_expire"): "silence_id"}
DECIDED.update({("obs_slo_definition", f"slo_{x}"): "slo" for x in ("create", "update", "delete")})
def registry(text):
    """{keyid: (DID, key, revoked at)}; ValueError if it is none."""
    out = {}
    for words in (line.split() for line in text.splitlines()):
        if not words or words[0].startswith("#"): continue
        name, key_id, key = vkey(words[1], 1)
        if words[0] != "actor" or not re.fullmatch(r"did:vm:[\w.-]+:[\w.-]+", name, re.A): raise ValueError(name)
        if words[2:] and (words[2] != "revoked" or len(words) != 4 or when(words[3]) is None): raise ValueError(name)
        if f"{name}#{key_id.hex()}" in out: raise ValueError(name)
        out[f"{name}#{key_id.hex()}"] = name, key, when(words[3]) if words[2:] else None
    return out
def check_contract(r, t, origin, actors):
    e = r["contract"]
    try:
        kind, (signature,) = e["payloadType"], e["signatures"]
        if len(e) != 3 or len(signature) != 2 or kind != "application/vnd.vm-obs.contract+json": raise ValueError("envelope")
        payload, keyid = b64(e["payload"]), signature["keyid"]
        if keyid not in actors: return find("ACTOR_UNKNOWN", str(keyid))
        did, key, revoked = actors[keyid]
        if not ed25519(key, b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload), b64(signature["sig"])): raise ValueError("signature")
        if revoked is not None and (t is None or t > revoked): return find("ACTOR_REVOKED", keyid)
        c = parse_line(payload)
        operation, subject = c["operation_type"], c["subject"]
        said = {"v": 1, "origin": origin, "initiated_by": r.get("initiated_by", r.get("acknowledged_by")),
                "operation_type": r.get("operation_type"), "issued_at": c["issued_at"], "subject": subject}
        names = DECIDED[r.get("type"), operation].split()
        if c != said or c["initiated_by"] != did or when(c["issued_at"]) is None or sorted(subject) != sorted(names): raise ValueError("payload")
        if any(name not in r or canonical(subject[name]) != canonical(r[name]) for name in names): raise ValueError("another content")
    except (ValueError, KeyError, TypeError, AttributeError) as x: find("CONTRACT_INVALID", repr(x))

# --- Receipts and seals ---------------------------------------------------------------------
def when(text):
    """Milliseconds since the epoch of an RFC 3339 time in UTC; None for anything else."""
    m = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?Z", text, re.A) if isinstance(text, str) else None
    try: t = datetime.datetime.fromisoformat(m[1] + "+00:00")
    except (TypeError, ValueError): return None
    since = t - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return (since.days * 86400 + since.seconds) * 1000 + int((m[2] or "0")[:3].ljust(3, "0"))
def period_of(r):
    p = r.get("period") if isinstance(r.get("period"), dict) else {}
    a, b = when(p.get("start")), when(p.get("end"))
    return (a, b) if a is not None and b is not None and a < b else None

class Seals:
    def __init__(self):
        self.files, self.streams, self.known, self.gone, self.gaps, self.moved = [], {}, {}, set(), {}, set()
        self.trees = {}  # of each sealed file, by content hash: stream, period, record tree, redacted records
    def cover(self, stream, start, end, seq):
        s = self.streams.setdefault(stream, {"from": start, "until": start, "holes": [], "first": seq})
        if start > s["until"]: s["holes"].append((s["until"], start))
        if start < s["until"]: find("DUPLICATE_SEAL", f"{stream} overlaps")
        s["until"] = max(s["until"], end)
    def receipt(self, r, timestamp):
        kind, period, stream = r.get("type"), period_of(r), r.get("stream")
        if kind in ("obs_metric_snapshot", "obs_log_batch", "obs_trace_batch"):
            path, digest, rev = r.get("storage_path"), r.get("content_hash"), r.get("rev", 0)
            texts = all(isinstance(x, str) and x for x in (stream, path, digest))
            if not (texts and period) or type(rev) is not int or rev < 0:
                return find("SEAL_INCOMPLETE", str(r.get("seq")))
            if timestamp is not None and timestamp < period[1]: find("SEALED_TOO_EARLY", path)
            key = (stream, period, rev)
            if key in self.known:
                again = self.known[key] == digest and any(f[0] == path for f in self.files)
                return find("REPEATED_SEAL" if again else "DUPLICATE_SEAL", path)
            if rev == 0 and "fills_gap" in r:
                gap = self.gaps.get(r["fills_gap"])
                inside = gap and gap[0] == stream and gap[1][0] <= period[0] and period[1] <= gap[1][1]
                if not inside or not r.get("reason"): find("SEAL_LINK_BROKEN", path)
            elif rev == 0 and "precedes" in r:
                s = self.streams.get(stream)
                before = s and r["precedes"] == str(s["first"]) and period[1] <= s["from"]
                if not before or not r.get("reason"): find("SEAL_LINK_BROKEN", path)
            elif rev == 0: self.cover(stream, *period, r.get("seq"))
            else:
                named = r.get("supersedes", r.get("supplements"))
                linked = any(k[:2] == key[:2] and k[2] < rev and h == named for k, h in self.known.items())
                if not linked or not r.get("reason"): find("SEAL_LINK_BROKEN", path)
                elif r.get("supersedes"): self.gone.add(named)
            self.known[key] = digest
            self.add(r, path, digest, period, stream, 0)
        elif kind == "obs_reseal":
            path, digest, rev, redacted = r.get("storage_path"), r.get("content_hash"), r.get("rev"), r.get("redacted")
            texts = all(isinstance(x, str) and x for x in (stream, path, digest, redacted))
            if not (texts and period) or type(rev) is not int or rev < 1 or not re.fullmatch(r"0|[1-9]\d*", redacted, re.A):
                return find("SEAL_INCOMPLETE", str(r.get("seq")))
            key, replaces = (stream, period, rev), r.get("replaces")
            if key in self.known: return find("DUPLICATE_SEAL", path)
            named = replaces.get("content_hash") if isinstance(replaces, dict) else None
            old = self.trees.get(named) if isinstance(named, str) else None
            if not old or old[:2] != (stream, period) or not isinstance(r.get("reason"), str) or not r["reason"]: find("SEAL_LINK_BROKEN", path)
            else:
                count = old[2][0]
                if old[2] != self.tree(r) or not old[3] <= int(redacted) <= int(count or 0): find("RECORDS_MISMATCH", path)
                elif int(redacted) > old[3]: find("REDACTED", f"{int(redacted) - old[3]} in {path}: {r['reason']}")
                self.gone.add(named)
            self.known[key] = digest
            self.add(r, path, digest, period, stream, int(redacted))
        elif kind == "obs_gap":
            if not (isinstance(stream, str) and stream and period): return find("SEAL_INCOMPLETE", "gap")
            find("DECLARED_GAP", stream); self.cover(stream, *period, r.get("seq"))
            self.gaps[str(r.get("seq"))] = stream, period
        elif kind == "obs_retention":
            deleted = r.get("deleted") if isinstance(r.get("deleted"), list) else []
            for d in (d for d in deleted if isinstance(d, dict)): self.gone.add((str(d.get("path") or d.get("storage_path")), str(d.get("content_hash"))))
        elif kind == "obs_tier_move":
            for m in (m for m in r.get("moved") or [] if isinstance(m, dict)): self.moved.add((str(m.get("path")), str(m.get("content_hash"))))
        else:
            path = r.get("report_path", r.get("proof_path"))
            if isinstance(path, str) and isinstance(r.get("content_hash"), str):
                self.files.append((path, r["content_hash"], None, period))
    def tree(self, r):
        """Count, root and leaf kind of the record tree, None where the receipt does not say."""
        t = r.get("records") if isinstance(r.get("records"), dict) else {}
        count, root, leaf = (t.get(n) if isinstance(t.get(n), str) else None for n in ("count", "root", "leaf"))
        return (count if count and count.isdecimal() else None,
                root if root and re.fullmatch("sha256:[0-9a-f]{64}", root) else None, leaf)
    def add(self, r, path, digest, period, stream, redacted):
        size = r.get("content_bytes")
        self.files.append((path, digest, int(size) if isinstance(size, str) and size.isdecimal() else None, period))
        self.trees[digest] = stream, period, self.tree(r), redacted
    def check_hours(self, start, end, expect):
        for name, s in sorted(self.streams.items()):
            for a, b in s["holes"]:
                if a < end and b > start: find("PERIOD_GAP", name)
            if start > -1e18 and start < s["from"]: find("PERIOD_GAP", name)
            if expect is not None and expect > s["until"]: find("PERIOD_GAP", name)
        if not self.streams and (expect is not None or start > -1e18): find("PERIOD_GAP", "no stream")
    def check_files(self, data, start, end, cold):
        for path, digest, size, period in self.files:
            if period and (period[1] <= start or period[0] >= end): continue
            if os.path.isabs(path) or ".." in path.split("/"): find("BAD_PATH", path); continue
            told, place = (path, digest) in self.gone or digest in self.gone, os.path.join(data, path)
            if (path, digest) in self.moved and not told and not os.path.exists(place):
                if not cold: find("COLD_NOT_CHECKED", path); continue
                place = os.path.join(cold, path)
            try: raw = open(place, "rb").read()
            except FileNotFoundError:
                find("DECLARED_DELETION" if told else "FILE_MISSING", path); continue
            except OSError as e: find("IO_ERROR", str(e)); continue
            if "blake3:" + blake3(raw).hex() != digest: find("CONTENT_MISMATCH", path)
            if size is not None and size != len(raw): find("SIZE_MISMATCH", path)
        known = {f[0] for f in self.files}
        for folder, _, names in os.walk(os.path.join(data, "telemetry")):
            for path in (os.path.relpath(os.path.join(folder, n), data) for n in names):
                if path not in known and not path.endswith((".mt", ".tmp")): find("UNRECEIPTED_FILE", path)

# --- Proof files ----------------------------------------------------------------------------
def climb(index, size, node, path):
    """The root that a path leads to (RFC 9162 2.1.3.2); None if it has another length."""
    if index >= size: return None
    fn, sn = index, size - 1
    for p in path:
        if sn == 0: return None
        if fn & 1 or fn == sn:
            node = sha256(b"\1" + p + node)
            while fn and not fn & 1: fn, sn = fn >> 1, sn >> 1
        else: node = sha256(b"\1" + node + p)
        fn, sn = fn >> 1, sn >> 1
    return node if sn == 0 else None
def lp(x): return len(x).to_bytes(4, "big") + x
def decimal(text):
    if not re.fullmatch(r"0|[1-9]\d*", text, re.A): raise ValueError("not a number")
    return int(text)
def hash_of(line):
    if len(b64(line)) != 32: raise ValueError("not a hash")
    return b64(line)

def proof_parts(raw):
    cut = raw.rindex(b"sha256 ")
    if raw[cut:] != b"sha256 %s\n" % sha256(raw[:cut]).hex().encode(): raise ValueError("closing hash")
    head, rest = raw[:cut].decode().split("\n", 1)
    if head != "vmobs-proof/1": raise ValueError("unknown header")
    record = None
    if not rest.startswith("\n"):
        fields, rest = rest.split("\n\n", 1)
        fields, names = fields.split("\n"), ("kind ", "stream ", "hour ", "index ", "count ", "salt ")
        if len(fields) < 6 or not all(f.startswith(n) for f, n in zip(fields, names)): raise ValueError("record fields")
        kind, stream, hour, index, count, salt = (f.split(" ", 1)[1] for f in fields[:6])
        line, rest = rest.split("\n", 1)
        form, data = line.split(" ", 1)
        if form != ("data" if kind == "vmobs-series-hour/1" else "text") or len(b64(salt)) != 16: raise ValueError("record")
        leaf = b"".join(lp(x) for x in (kind.encode(), stream.encode(), hour.encode(), b64(salt),
                                        b64(data) if form == "data" else data.encode()))
        record = kind, stream, hour, decimal(index), decimal(count), leaf, [hash_of(f) for f in fields[6:]]
    else: rest = rest[1:]
    word, receipt = rest.split("\n\n", 1)[0].split(" ", 1)
    tlog, checkpoint = rest.split("\n\n", 1)[1].split("\n\n", 1)
    lines = tlog.split("\n")
    if word != "receipt" or lines.pop(0) != "c2sp.org/tlog-proof@v1": raise ValueError("receipt or log proof")
    if lines[0].startswith("extra "): b64(lines.pop(0)[6:])
    if not lines[0].startswith("index "): raise ValueError("index")
    return record, receipt.encode(), decimal(lines[0][6:]), [hash_of(x) for x in lines[1:]], note(checkpoint.encode())

def verify_proof(o):
    if any(o[f] is not None for f in ("--state", "--from", "--to", "--expect-until")): raise Usage("a proof file cannot answer that")
    policy, shown = policy_of(o, o["DIR"]), 0
    raw = load(o["DIR"], "IO_ERROR")
    try: record, receipt, index, path, ck = proof_parts(raw)
    except (ValueError, IndexError) as e: find("PROOF_MALFORMED", str(e))
    else:
        if policy: shown = int(check_signatures(ck, policy, o["--require-witness"])[0])
        r, included = None, climb(index, ck[3], sha256(b"\0" + receipt), path) == ck[4]
        if not included: find("ROOT_MISMATCH")
        else:
            try: r = parse_line(receipt)
            except (ValueError, RecursionError) as e: find("PROOF_MALFORMED", str(e))
        if r is not None and r.get("seq") != index: find("PROOF_MISMATCH", "seq")
        elif r is not None and record:
            kind, stream, hour, i, count, leaf, steps = record
            records, period = r.get("records"), r.get("period")
            if r.get("type") not in ("obs_metric_snapshot", "obs_log_batch", "obs_trace_batch", "obs_reseal") or not (
                    isinstance(records, dict) and period_of(r)): find("PROOF_MALFORMED", "the receipt seals no hour")
            elif (r.get("stream"), when(period["end"]), records.get("leaf"), records.get("count")) != (
                    stream, when(hour), kind, str(count)): find("PROOF_MISMATCH")
            else:
                root = climb(i, count, sha256(b"\0" + leaf), steps)
                if root is None or records.get("root") != "sha256:" + root.hex(): find("RECORDS_MISMATCH")
    if any(CLASS.get(c) == 1 for c, _ in FOUND): shown = 0
    if not shown: find("NOTHING_VERIFIED")
    exits = {CLASS.get(c, 0) for c, _ in FOUND}
    return next((e for e in (1, 5, 2, 3) if e in exits), 0), shown

# --- The whole ------------------------------------------------------------------------------
def load(path, missing):
    try: return open(path, "rb").read()
    except FileNotFoundError: find(missing, path)
    except OSError as e: find("IO_ERROR", str(e))
def policy_of(o, receipts):
    try:
        if o["--policy"]: return Policy.parse(open(o["--policy"]).read())
        p, keys = Policy(), o["--log-key"]
        p.logs = [vkey(open(k).read() if os.path.exists(k) else k, 1) for k in keys]
    except (OSError, ValueError, IndexError) as e: raise Usage(f"policy: {e}")
    if not keys and os.path.isdir(receipts + "/keys"):
        for name in sorted(os.listdir(receipts + "/keys")):
            try: p.logs.append(vkey(open(f"{receipts}/keys/{name}").read(), 1)); find("KEY_FROM_DATA", name)
            except (OSError, ValueError, IndexError): pass
    if p.logs: return p
    find("NO_LOG_KEY")

def verify(o):
    if os.path.isfile(o["DIR"] or ""): return verify_proof(o)
    folder, name = o["DIR"], "observability_events.jsonl"
    receipts = os.path.join(folder, "receipts", "observability")
    bare = not os.path.exists(receipts) and any(os.path.exists(f"{folder}/{n}") for n in ("checkpoint", name))
    if bare: receipts = folder
    policy, state, signed = policy_of(o, receipts), None, False
    actors_path = o["--actors"] or receipts + "/actors.txt"
    try: actors = registry(open(actors_path).read()) if o["--actors"] or os.path.exists(actors_path) else {}
    except (OSError, ValueError, IndexError) as e: raise Usage(f"actors: {e}")
    if o["--state"]:
        try: state = note(open(o["--state"], "rb").read())
        except (OSError, ValueError) as e: raise Usage(f"state: {e}")
    old_path, older, old_root, late = receipts + "/checkpoint.cosigned", None, None, None
    old_raw = load(old_path, "IO_ERROR") if os.path.exists(old_path) else None
    raw, ck = load(receipts + "/checkpoint", "CHECKPOINT_MISSING"), None
    root_path = folder + "/ROOT.observability.txt"
    root_file = load(root_path, "ROOT_FILE_MISSING") if not bare or os.path.exists(root_path) else None
    if raw is not None:
        try: ck = note(raw)
        except ValueError as e: find("CHECKPOINT_MALFORMED", str(e))
    if raw is not None and old_raw is not None:
        try: older = note(old_raw)
        except ValueError as e: find("CHECKPOINT_MALFORMED", "cosigned: " + str(e))
    size = ck[3] if ck else 0
    body = load(f"{receipts}/{name}", "LOG_MISSING")
    lines = (body or b"").split(b"\n")
    torn, tree, chain, seals, last, keys = lines.pop(), Tree(sha256), Tree(blake3), Seals(), None, Keys()
    roots, state_root = {chain.root(): 0}, tree.root()
    if older and older[3] == 0: old_root = tree.root()
    for seq, line in enumerate(lines[:size]):
        before = "blake3:" + chain.root().hex()
        tree.push(line); chain.push(line); roots[chain.root()] = seq + 1
        if state and state[3] == seq + 1: state_root = tree.root()
        if older and older[3] == seq + 1: old_root = tree.root()
        try: r = parse_line(line)
        except (ValueError, RecursionError) as e: find("NOT_CANONICAL", f"{seq}: {e}"); continue
        if r.get("v") != 1: find("UNKNOWN_VERSION", str(seq))
        if r.get("seq") != seq: find("SEQ_ORDER", str(seq))
        if r.get("root_hash") != before: find("ROOT_HASH_MISMATCH", str(seq))
        t = when(r.get("timestamp"))
        if t is None or (last is not None and t < last): find("TIMESTAMP_BACKWARDS", str(seq))
        last = max(x for x in (last, t, -10**18) if x is not None)
        try: keys.receipt(r, seq, ck[2])
        except (ValueError, IndexError) as e: find("KEY_CHAIN_BROKEN", f"{seq}: {e}")
        if "contract" in r: check_contract(r, t, ck[2], actors)
        seals.receipt(r, t)
    if ck and policy: signed, late = check_signatures(ck, policy, o["--require-witness"], older, keys, last)
    elif older and policy: check_log_signature(older, policy, keys); cosigned_by(older, policy)
    if body is None: size = len(lines)
    elif len(lines) < size: find("TRUNCATED", f"{len(lines)} of {size}"); find("ROOT_MISMATCH")
    elif ck:
        if tree.root() != ck[4]: find("ROOT_MISMATCH")
        if len(lines) > size: find(f"UNSIGNED_TAIL:{len(lines) - size}")
        if torn: find("TORN_TAIL_UNSIGNED", f"{len(torn)} bytes")
        for line in lines[size:]: chain.push(line); roots[chain.root()] = chain.size
        if root_file is not None:
            m = re.fullmatch(rb"blake3:([0-9a-f]{64})\n?", root_file)
            at = roots.get(bytes.fromhex(m[1].decode())) if m else None
            if at is None: find("ROOT_FILE_MISMATCH")
            elif at < size: find("ROOT_FILE_STALE")
    if state and ck:
        if state[2] != ck[2]: find("INCONSISTENT_WITH_STATE", "origin")
        elif state[3] > ck[3]: find("ROLLBACK", f"remembered {state[3]}, found {ck[3]}")
        elif len(lines) >= state[3] and state_root != state[4]: find("INCONSISTENT_WITH_STATE")
    if older and ck:
        if older[2] != ck[2]: find("WRONG_ORIGIN", "checkpoint.cosigned")
        elif older[3] > ck[3]: find("ROLLBACK", f"cosigned {older[3]}, signed {ck[3]}")
        elif old_root is not None and old_root != older[4]: find("ROOT_MISMATCH", "checkpoint.cosigned")
        if late is not None and ck[3] > older[3]:
            find(f"UNWITNESSED_TAIL:{ck[3] - older[3]}")
            if last is None or last - late * 1000 > o["--cosigned-within"]: find("WITNESS_STALE")
    start = o["--from"] if o["--from"] is not None else -10**18
    end = o["--to"] if o["--to"] is not None else 10**18
    seals.check_hours(start, end, o["--expect-until"])
    if not o["--receipts-only"] and (not bare or os.path.isdir(folder + "/telemetry")): seals.check_files(folder, start, end, o["--cold"])
    elif seals.files: find("FILES_NOT_CHECKED")
    verified = size if len(lines) >= size and ck else 0
    if not verified: find("NOTHING_VERIFIED")
    codes = {c for c, _ in FOUND}
    if signed and "WITNESS_QUORUM_MISSING" in codes and "ROOT_MISMATCH" not in codes: CLASS["ROOT_HASH_MISMATCH"] = 3
    exits = {CLASS.get(c, 0) for c in codes}
    return next((e for e in (1, 5, 2, 3) if e in exits), 0), verified

def arguments(words):
    o = dict.fromkeys(("--policy", "--actors", "--state", "--from", "--to", "--expect-until", "--cold"))
    o.update({"DIR": None, "--log-key": [], "--require-witness": False, "--receipts-only": False,
              "--files": False, "--cosigned-within": 3_600_000})
    words = iter(words)
    for w in words:
        if o.get(w, 0) is False: o[w] = True
        elif w.startswith("--") and w in o:
            value = next(words, None)
            if value is None: raise Usage(f"{w} needs a value")
            if w == "--cosigned-within":
                m = re.fullmatch(r"([1-9]\d{0,8})([smhd])", value, re.A)
                if not m: raise Usage(f"{w}: no duration")
                value = int(m[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[m[2]] * 1000
            if w in ("--from", "--to", "--expect-until") and (value := when(value)) is None: raise Usage(f"{w}: no time")
            o[w] = o[w] + [value] if w == "--log-key" else value
        elif w.startswith("-") or o["DIR"]: raise Usage(f"unknown argument {w}")
        else: o["DIR"] = w
    o["DIR"] = o["DIR"] or "data"
    return o

def main():
    try: code, verified = verify(arguments(sys.argv[1:]))
    except Usage as e: print(f"verify.py: {e}", file=sys.stderr); return 4
    except Exception as e: print(f"verify.py: {e!r}", file=sys.stderr); return 5  # never 0 or a verdict
    for c, detail in FOUND: print(f"{'note' if not CLASS.get(c) else 'bad '} {c} {detail}".rstrip())
    print(f"exit {code}: {verified} receipts verified; the records of sealed files are not checked here")
    return code

if __name__ == "__main__": sys.exit(main())
