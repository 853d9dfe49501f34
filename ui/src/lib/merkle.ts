/**
 * RFC 6962 SHA-256 tree head over leaves, for checking the ledger in the browser without trusting
 * the server's arithmetic.
 */
async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

function join(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

export async function treeRoot(lines: string[]): Promise<Uint8Array> {
  const encoder = new TextEncoder();
  let level = await Promise.all(lines.map((l) => sha256(join(new Uint8Array([0]), encoder.encode(l)))));
  if (level.length === 0) return sha256(new Uint8Array());
  // Pairing level by level and carrying an odd node up gives the same tree as RFC 6962's split.
  while (level.length > 1) {
    const next: Promise<Uint8Array<ArrayBuffer>>[] = [];
    for (let i = 0; i < level.length; i += 2) {
      const [a, b] = [level[i], level[i + 1]];
      if (a && b) next.push(sha256(join(new Uint8Array([1]), a, b)));
      else if (a) next.push(Promise.resolve(a));
    }
    level = await Promise.all(next);
  }
  return level[0] ?? new Uint8Array();
}

export function base64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}

export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

export interface CheckpointParts {
  origin: string;
  size: number;
  root: string;
  body: string;
  signatures: { name: string; bytes: Uint8Array<ArrayBuffer> }[];
}

/** Reads a C2SP checkpoint; `null` if it is not one. */
export function parseCheckpoint(note: string): CheckpointParts | null {
  const cut = note.indexOf("\n\n");
  if (cut < 0) return null;
  const body = note.slice(0, cut + 1);
  const [origin, size, root] = body.split("\n");
  if (!origin || !size || !root || !/^\d+$/.test(size)) return null;
  const signatures = note
    .slice(cut + 2)
    .split("\n")
    .filter((l) => l.startsWith("— "))
    .map((l) => {
      const [, name = "", data = ""] = l.split(" ");
      return { name, bytes: fromBase64(data) };
    });
  return { origin, size: Number(size), root, body, signatures };
}

/** Verifies the log's own Ed25519 signature; `null` where the browser has no Ed25519. */
export async function verifySignature(parts: CheckpointParts, vkey: string): Promise<boolean | null> {
  // name+hash+key, and the base64 of the key may hold a "+" of its own.
  const [name = "", , ...rest] = vkey.split("+");
  const key = fromBase64(rest.join("+"));
  const signature = parts.signatures.find((s) => s.name === name);
  if (!signature || key[0] !== 1) return false;
  try {
    const imported = await crypto.subtle.importKey("raw", key.slice(1), { name: "Ed25519" }, false, ["verify"]);
    return await crypto.subtle.verify({ name: "Ed25519" }, imported, signature.bytes.slice(4), new TextEncoder().encode(parts.body));
  } catch {
    return null;
  }
}
