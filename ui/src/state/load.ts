import { useEffect, useRef, useState } from "preact/hooks";

/** The five states of a view: loading, error, and done with or without something to show. */
export interface Loaded<T> {
  data: T | null;
  error: string | null;
  loading: boolean;
  reload: () => void;
}

/**
 * Loads again whenever `key` changes; keeps the last answer on screen while the next one is on its
 * way, and drops answers that were overtaken.
 */
export function useLoad<T>(key: string, load: (signal: AbortSignal) => Promise<T>): Loaded<T> {
  const [state, setState] = useState<{ data: T | null; error: string | null; loading: boolean }>({
    data: null,
    error: null,
    loading: true,
  });
  const [round, setRound] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    const abort = new AbortController();
    setState((s) => ({ ...s, loading: true }));
    latest.current(abort.signal).then(
      (data) => setState({ data, error: null, loading: false }),
      (e: unknown) => {
        if (abort.signal.aborted) return;
        setState((s) => ({ ...s, error: e instanceof Error ? e.message : String(e), loading: false }));
      },
    );
    return () => abort.abort();
  }, [key, round]);
  return { ...state, reload: () => setRound((r) => r + 1) };
}
