import { useEffect, useRef, useState } from "preact/hooks";
import type { JSX } from "preact";
import type { Offer } from "../lib/complete";

const HISTORY_MAX = 30;

function stored(name: string): string[] {
  try {
    const all: unknown = JSON.parse(localStorage.getItem(name) ?? "[]");
    return Array.isArray(all) ? all.filter((x): x is string => typeof x === "string") : [];
  } catch {
    return [];
  }
}

/** Keeps a query that was run, newest first. */
export function remember(language: string, text: string): void {
  const name = `history-${language}`;
  localStorage.setItem(name, JSON.stringify([text, ...stored(name).filter((x) => x !== text)].slice(0, HISTORY_MAX)));
}

/** Queries that were run before, newest first. */
export function Earlier(props: { language: string; take: (text: string) => void }): JSX.Element | null {
  const all = stored(`history-${props.language}`);
  if (all.length === 0) return null;
  return (
    <select class="earlier" aria-label="Earlier queries" value="" onChange={(e) => { if (e.currentTarget.value) props.take(e.currentTarget.value); }}>
      <option value="">Earlier queries</option>
      {all.map((q) => <option key={q} value={q}>{q.length > 90 ? `${q.slice(0, 90)} …` : q}</option>)}
    </select>
  );
}

/**
 * A query box: Enter runs, Shift+Enter breaks the line, Ctrl+Space and typing offer words, Ctrl+Up
 * brings back earlier queries. The completer is fetched with the first key.
 */
export function QueryEditor(props: { id: string; label?: string; language: string; value: string; rows?: number; input: (text: string) => void; run: (text: string) => void }): JSX.Element {
  const area = useRef<HTMLTextAreaElement>(null);
  const [offers, setOffers] = useState<{ from: number; all: Offer[] } | null>(null);
  const [at, setAt] = useState(0);
  const past = useRef(-1);
  const round = useRef(0);
  useEffect(() => () => { round.current += 1; }, []);
  const suggest = async (force: boolean) => {
    const el = area.current;
    if (!el || props.language !== "promql") return;
    const mine = ++round.current;
    const { complete } = await import("../lib/complete");
    const found = await complete(el.value, el.selectionStart, force).catch(() => null);
    if (mine !== round.current) return;
    setAt(0);
    setOffers(found && found.all.length > 0 ? found : null);
  };
  const take = (o: Offer) => {
    const el = area.current;
    if (!el || !offers) return;
    const next = el.value.slice(0, offers.from) + o.insert + el.value.slice(el.selectionEnd);
    const caret = offers.from + o.insert.length;
    props.input(next);
    setOffers(null);
    requestAnimationFrame(() => {
      el.focus();
      el.setSelectionRange(caret, caret);
      // Behind a label come its values.
      if (o.kind === "label") void suggest(false);
    });
  };
  const recall = (by: number) => {
    const all = stored(`history-${props.language}`);
    past.current = Math.max(-1, Math.min(all.length - 1, past.current + by));
    const text = all[past.current];
    if (text !== undefined) props.input(text);
  };
  const key = (e: KeyboardEvent) => {
    if (offers) {
      const step = e.key === "ArrowDown" ? 1 : e.key === "ArrowUp" ? -1 : 0;
      if (step) {
        e.preventDefault();
        setAt((at + step + offers.all.length) % offers.all.length);
        return;
      }
      const picked = offers.all[at];
      if ((e.key === "Tab" || (e.key === "Enter" && !e.shiftKey)) && picked) {
        e.preventDefault();
        take(picked);
        return;
      }
      if (e.key === "Escape") {
        setOffers(null);
        return;
      }
    }
    if (e.key === " " && e.ctrlKey) {
      e.preventDefault();
      void suggest(true);
    } else if ((e.key === "ArrowUp" || e.key === "ArrowDown") && e.ctrlKey) {
      e.preventDefault();
      recall(e.key === "ArrowUp" ? 1 : -1);
    } else if (e.key === "Enter" && !e.shiftKey) {
      e.preventDefault();
      round.current += 1;
      setOffers(null);
      props.run(area.current?.value ?? "");
    }
  };
  return (
    <div class="editor">
      <textarea ref={area} id={props.id} rows={props.rows ?? 2} spellcheck={false} value={props.value} autocomplete="off"
        role="combobox" aria-label={props.label} aria-expanded={offers !== null} aria-controls={`${props.id}-offers`} aria-autocomplete="list" aria-activedescendant={offers ? `${props.id}-${at}` : undefined}
        onInput={(e) => { props.input(e.currentTarget.value); void suggest(false); }} onKeyDown={key} onBlur={() => window.setTimeout(() => setOffers(null), 150)} />
      <ul class="offers" id={`${props.id}-offers`} role="listbox" aria-label="Suggestions" hidden={!offers}>
        {offers?.all.map((o, i) => (
          <li key={`${o.kind}${o.text}`} id={`${props.id}-${i}`} role="option" aria-selected={i === at} onMouseDown={(e) => { e.preventDefault(); take(o); }}>
            <span class="mono">{o.text}</span><span class="muted">{o.note}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}
