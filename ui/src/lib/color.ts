/** Grafana's colour names with their shades, as hex. */
const HUES: Record<string, [string, string, string, string, string]> = {
  // super-light, light, base, semi-dark, dark
  red: ["#FFA6B0", "#FF7383", "#F2495C", "#E02F44", "#C4162A"],
  orange: ["#FFCB7D", "#FFB357", "#FF9830", "#FF780A", "#FA6400"],
  yellow: ["#FFF899", "#FFEE52", "#FADE2A", "#F2CC0C", "#E0B400"],
  green: ["#C8F2C2", "#96D98D", "#73BF69", "#56A64B", "#37872D"],
  blue: ["#C0D8FF", "#8AB8FF", "#5794F2", "#3274D9", "#1F60C4"],
  purple: ["#DEB6F2", "#CA95E5", "#B877D9", "#A352CC", "#8F3BB8"],
};
const SHADES: Record<string, number> = { "super-light-": 0, "light-": 1, "": 2, "semi-dark-": 3, "dark-": 4 };
const OWN: Record<string, string> = { green: "--ok", red: "--bad", yellow: "--warn", orange: "--warn", blue: "--info" };

/** A colour that CSS and canvas understand; base colours follow the theme. */
export function cssColor(name: string | undefined, token: (name: string) => string): string {
  if (!name) return "";
  if (name === "transparent" || name.startsWith("#") || name.startsWith("rgb") || name.startsWith("hsl")) return name;
  if (name === "text") return token("--text");
  if (name === "gray" || name === "grey") return token("--muted");
  const own = OWN[name];
  if (own) return token(own);
  const [, shade = "", hue = ""] = /^((?:super-|semi-)?(?:light|dark)-)?(\w+)$/.exec(name) ?? [];
  return HUES[hue]?.[SHADES[shade] ?? 2] ?? (hue && CSS.supports("color", hue) ? hue : "");
}

function channels(hex: string): [number, number, number] {
  const full = hex.length === 4 ? hex.replace(/[0-9a-f]/gi, "$&$&") : hex;
  const n = Number.parseInt(full.slice(1, 7), 16);
  return [(n >> 16) & 255, (n >> 8) & 255, n & 255];
}

/** A point between colours, `share` from 0 to 1. */
export function blend(colors: string[], share: number): string {
  const at = Math.max(0, Math.min(1, share)) * (colors.length - 1);
  const a = channels(colors[Math.floor(at)] ?? "#888888");
  const b = channels(colors[Math.ceil(at)] ?? "#888888");
  const t = at - Math.floor(at);
  return `rgb(${a.map((v, i) => Math.round(v + ((b[i] ?? v) - v) * t)).join(",")})`;
}

const RAMPS: Record<string, string[]> = {
  "continuous-GrYlRd": ["#73BF69", "#FADE2A", "#F2495C"], "continuous-RdYlGr": ["#F2495C", "#FADE2A", "#73BF69"],
  "continuous-BlYlRd": ["#5794F2", "#FADE2A", "#F2495C"], "continuous-YlRd": ["#FADE2A", "#F2495C"],
  "continuous-BlPu": ["#5794F2", "#B877D9"], "continuous-YlBl": ["#FADE2A", "#5794F2"],
  "continuous-blues": ["#C0D8FF", "#1F60C4"], "continuous-reds": ["#FFA6B0", "#C4162A"],
  "continuous-greens": ["#C8F2C2", "#37872D"], "continuous-purples": ["#DEB6F2", "#8F3BB8"],
};

/** The colours of a continuous mode; `null` for another mode. */
export function ramp(mode: string | undefined): string[] | null {
  return mode ? (RAMPS[mode] ?? null) : null;
}

/** Black or white, whichever reads better on a colour. */
export function inkOn(color: string): string {
  const [r, g, b] = color.startsWith("#") ? channels(color) : (color.match(/\d+/g) ?? ["0", "0", "0"]).map(Number);
  return 0.299 * (r ?? 0) + 0.587 * (g ?? 0) + 0.114 * (b ?? 0) > 150 ? "#10151c" : "#ffffff";
}
