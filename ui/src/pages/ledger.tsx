import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { get, getText, send } from "../api/client";
import type { LedgerHead, Receipt, Verdict } from "../api/types";
import { Page } from "../components/shell";
import { Card, Stat, TableView, View } from "../components/ui";
import { base64, parseCheckpoint, treeRoot, verifySignature } from "../lib/merkle";
import { formatAge, formatTime } from "../lib/time";
import { useLoad } from "../state/load";
import { now } from "../state/range";
import { query, setQuery } from "../state/route";

interface BrowserCheck {
  ok: boolean;
  lines: string[];
}

/** Recomputes the tree from the raw lines and checks the signature, all in this browser. */
async function checkHere(): Promise<BrowserCheck> {
  const head = await get<LedgerHead>("/obs/ledger");
  const note = await getText("/obs/ledger/checkpoint");
  const parts = parseCheckpoint(note);
  if (!parts) return { ok: false, lines: ["The checkpoint is not a signed note."] };
  const text = await getText(`/obs/ledger/receipts.jsonl?limit=${parts.size}`);
  const lines = text.split("\n").filter((l) => l !== "").slice(0, parts.size);
  const root = base64(await treeRoot(lines));
  const signed = await verifySignature(parts, head.log_vkey);
  const complete = lines.length === parts.size;
  const same = root === parts.root;
  return {
    ok: complete && same && signed === true,
    lines: [
      `${lines.length} of ${parts.size} receipts read${complete ? "" : ": the log is shorter than its checkpoint"}`,
      same ? `root ${root} equals the signed root` : `root ${root} is not the signed root ${parts.root}`,
      signed === null ? "this browser cannot check Ed25519 signatures" : signed ? `signature of ${parts.origin} holds` : "the signature does not hold",
    ],
  };
}

export function Ledger(): JSX.Element {
  const head = useLoad(String(now.value), (signal) => get<LedgerHead>("/obs/ledger", {}, signal));
  const type = query.value.get("type") ?? "";
  const receipts = useLoad(`${type}#${head.data?.size ?? 0}`, (signal) => get<{ receipts: Receipt[]; total: number }>("/obs/receipts", { type, limit: 50 }, signal));
  const [here, setHere] = useState<BrowserCheck | string | null>(null);
  const [server, setServer] = useState<Verdict | string | null>(null);
  const [open, setOpen] = useState<number | null>(null);
  const fail = (set: (s: string) => void) => (e: unknown) => set(e instanceof Error ? e.message : String(e));
  return (
    <Page title="Ledger" ranged={false}>
      <View of={head}>
        {(l) => (
          <div class="grid">
            <Stat label="Receipts" value={String(l.size)} hint={`last ${formatAge(l.last_receipt_at, now.value)}`} />
            {["metrics", "logs", "traces"].map((s) => <Stat key={s} label={`Sealed hours of ${s}`} value={String(l.sealed_hours[s] ?? 0)} />)}
            <Stat label="Not yet under a checkpoint" value={String(l.unproven_tail)} tone={l.unproven_tail > 0 ? "warn" : "ok"} />
            <Stat label="Witness" value={l.witnessed ? "cosigned" : "none"} tone={l.witnessed ? "ok" : "warn"} hint={l.witnessed ? "" : "only this node vouches"} />
            <Card title="Checkpoint" span={7} hint={<a href="/obs/ledger/checkpoint" target="_blank" rel="noreferrer">raw</a>}>
              <pre>{l.checkpoint}</pre>
              <p class="muted mono" style="word-break:break-all">{l.log_vkey}</p>
              <p class="muted mono">{l.root_hash}</p>
            </Card>
            <Card title="Verify" span={5}>
              <p class="muted" style="margin-top:0">An outsider needs only the data folder and the public key: <code>vm-obs-verify DIR --log-key KEY</code>.</p>
              <div class="row">
                <button class="primary" onClick={() => { setHere("checking …"); checkHere().then(setHere, fail(setHere)); }}>Verify in this browser</button>
                <button onClick={() => { setServer("checking …"); send<Verdict>("POST", "/obs/ledger/verify").then(setServer, fail(setServer)); }}>Verify files on the server</button>
              </div>
              {here !== null && (typeof here === "string" ? <p>{here}</p> : (
                <div class={here.ok ? "ok" : "bad"} data-check={here.ok ? "ok" : "failed"}>
                  <p><b>{here.ok ? "Holds" : "Does not hold"}</b></p>
                  {here.lines.map((t) => <div class="mono" key={t} style="word-break:break-all">{t}</div>)}
                </div>
              ))}
              {server !== null && (typeof server === "string" ? <p>{server}</p> : <pre class={server.exit_code === 0 ? "ok" : "bad"} style="margin-top:10px">{server.text}</pre>)}
            </Card>
            <Card title="Receipts" span={12} flush hint={
              <select aria-label="Receipt type" value={type} onChange={(e) => setQuery({ type: e.currentTarget.value })}>
                <option value="">all types</option>
                {Object.entries(l.receipts_by_type).map(([t, n]) => <option key={t} value={t}>{t} ({n})</option>)}
              </select>
            }>
              <TableView of={receipts} head={["#Seq", "Time", "Type", "About"]} rows={(d) => d.receipts} none="No receipt yet; the first hour is sealed five minutes after it ends." row={(r) => (
                <tr key={r.seq} style="cursor:pointer" onClick={() => setOpen(open === r.seq ? null : r.seq)}>
                  <td class="num mono">{r.seq}</td>
                  <td class="mono">{formatTime(r.timestamp)}</td>
                  <td><code>{r.type}</code></td>
                  <td>{open === r.seq ? <pre>{JSON.stringify(r, null, 2)}</pre> : <span class="mono muted">{about(r)}</span>}</td>
                </tr>
              )} />
            </Card>
          </div>
        )}
      </View>
    </Page>
  );
}

function about(r: Receipt): string {
  for (const name of ["storage_path", "name", "metric", "alert_id", "slo_id", "report_id", "operation_id", "reason", "trace_id"]) {
    const v = r[name];
    if (typeof v === "string") return v;
  }
  return "";
}
