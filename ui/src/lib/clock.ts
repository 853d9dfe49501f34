import type { Millis } from "./time";

/** Observations nearer than this say nothing about the speed. */
const SPEED_SPAN_MS = 2000;

/**
 * The server's time, told by the answers that come from it. Its clock may run apart from the
 * browser's, and faster (`--clock-speed`).
 */
export class ServerClock {
  private first: { server: Millis; local: Millis } | null = null;
  private last: { server: Millis; local: Millis } | null = null;

  /** Takes what an answer said; what overtook a later answer is passed over. */
  observe(server: Millis, local: Millis): void {
    if (!Number.isFinite(server) || (this.last !== null && server < this.last.server)) return;
    this.last = { server, local };
    this.first ??= this.last;
  }

  /** The server's time at the browser's `local`; that itself before the first answer. */
  at(local: Millis): Millis {
    if (this.first === null || this.last === null) return local;
    const span = this.last.local - this.first.local;
    const speed = span < SPEED_SPAN_MS ? 1 : (this.last.server - this.first.server) / span;
    return this.last.server + Math.max(0, local - this.last.local) * speed;
  }
}

const clock = new ServerClock();

/** Reads the time that a response carries. */
export function observeResponse(response: Response): void {
  const told = response.headers.get("x-vmobs-time-ms");
  if (told !== null) clock.observe(Number(told), Date.now());
}

export function serverNow(): Millis {
  return clock.at(Date.now());
}
