import { effect, signal } from "@preact/signals";

type Theme = "dark" | "light";

const stored = localStorage.getItem("theme");
const system: Theme = window.matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark";
export const theme = signal<Theme>(stored === "light" || stored === "dark" ? stored : system);

effect(() => {
  document.documentElement.dataset["theme"] = theme.value;
  localStorage.setItem("theme", theme.value);
});

/** The value of a colour token, for canvases that cannot use CSS variables. */
export function token(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Ten distinguishable line colours for both themes. */
export const SERIES_COLORS = [
  "#3fb68b", "#5b9bf3", "#e0a33e", "#d9698c", "#9b7fe6",
  "#3fb0c4", "#c98a4b", "#8fae3c", "#e07a5f", "#7f8fa6",
];

export function seriesColor(i: number): string {
  return SERIES_COLORS[i % SERIES_COLORS.length] ?? "#3fb68b";
}
