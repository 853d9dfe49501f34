import { useState } from "preact/hooks";
import type { Obj } from "./board";

const STEPS_MAX = 200;

export interface History {
  doc: Obj;
  dirty: boolean;
  canUndo: boolean;
  canRedo: boolean;
  /** Changes of one `key` that follow one another, such as letters typed into a box, are one step. */
  change: (doc: Obj, key?: string) => void;
  undo: () => void;
  redo: () => void;
  saved: () => void;
}

/** A document with its undo and redo. */
export function useHistory(first: Obj): History {
  const [state, set] = useState({ steps: [{ doc: first, key: "" }], at: 0, saved: first });
  const doc = state.steps[state.at]?.doc ?? first;
  return {
    doc,
    dirty: doc !== state.saved,
    canUndo: state.at > 0,
    canRedo: state.at < state.steps.length - 1,
    change: (next, key = "") => set((s) => {
      const last = s.steps[s.at];
      const merge = key !== "" && last?.key === key && s.at > 0;
      const kept = s.steps.slice(Math.max(0, s.at + (merge ? 0 : 1) - STEPS_MAX), merge ? s.at : s.at + 1);
      return { ...s, steps: [...kept, { doc: next, key }], at: kept.length };
    }),
    undo: () => set((s) => ({ ...s, at: Math.max(0, s.at - 1) })),
    redo: () => set((s) => ({ ...s, at: Math.min(s.steps.length - 1, s.at + 1) })),
    saved: () => set((s) => ({ ...s, saved: s.steps[s.at]?.doc ?? s.saved })),
  };
}
