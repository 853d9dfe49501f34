/** Formats a value in one of Grafana's unit ids; the answer always shows the unit. */
export function formatValue(v: number | null | undefined, unit = "", decimals?: number): string {
  if (v === null || v === undefined) return "–";
  if (Number.isNaN(v)) return "NaN";
  if (!Number.isFinite(v)) return v > 0 ? "+Inf" : "−Inf";
  switch (unit) {
    case "percent":
      return `${fixed(v, decimals ?? 1)} %`;
    case "percentunit":
      return `${fixed(v * 100, decimals ?? 1)} %`;
    case "bytes":
      return scaled(v, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"], decimals);
    case "decbytes":
      return scaled(v, 1000, ["B", "kB", "MB", "GB", "TB", "PB"], decimals);
    case "Bps":
    case "binBps":
      return scaled(v, 1024, ["B/s", "KiB/s", "MiB/s", "GiB/s", "TiB/s"], decimals);
    case "bps":
      return scaled(v, 1000, ["b/s", "kb/s", "Mb/s", "Gb/s"], decimals);
    case "s":
      return seconds(v, decimals);
    case "ms":
      return seconds(v / 1000, decimals);
    case "µs":
    case "us":
      return seconds(v / 1e6, decimals);
    case "ops":
    case "reqps":
    case "eps":
    case "pps":
    case "cps":
      return `${scaled(v, 1000, ["", "k", "M", "G"], decimals).trim()}/s`;
    case "none":
    case "":
    case "short":
      return scaled(v, 1000, ["", "k", "M", "G", "T"], decimals).trim();
    default:
      return `${scaled(v, 1000, ["", "k", "M", "G", "T"], decimals).trim()} ${unit}`;
  }
}

function fixed(v: number, decimals: number): string {
  return v.toFixed(decimals).replace(/^-0(\.0+)?$/, "0$1");
}

function scaled(v: number, base: number, units: string[], decimals?: number): string {
  let i = 0;
  while (Math.abs(v) >= base && i < units.length - 1) {
    v /= base;
    i += 1;
  }
  const digits = decimals ?? (Math.abs(v) >= 100 || Number.isInteger(v) ? 0 : Math.abs(v) >= 1 ? 2 : 3);
  return `${fixed(v, digits)} ${units[i] ?? ""}`;
}

function seconds(v: number, decimals?: number): string {
  const abs = Math.abs(v);
  if (abs === 0) return "0 s";
  if (abs < 1e-3) return `${fixed(v * 1e6, decimals ?? 0)} µs`;
  if (abs < 1) return `${fixed(v * 1e3, decimals ?? 1)} ms`;
  if (abs < 120) return `${fixed(v, decimals ?? 2)} s`;
  if (abs < 7200) return `${fixed(v / 60, decimals ?? 1)} min`;
  if (abs < 172800) return `${fixed(v / 3600, decimals ?? 1)} h`;
  return `${fixed(v / 86400, decimals ?? 1)} d`;
}
