import { computed, signal } from "@preact/signals";

// The URL holds the view: path, query and range. Every screen can be shared by its address.
const location_ = signal(window.location.pathname + window.location.search);

window.addEventListener("popstate", () => {
  location_.value = window.location.pathname + window.location.search;
});

export const path = computed(() => location_.value.split("?")[0] ?? "/");
export const query = computed(() => new URLSearchParams(location_.value.split("?")[1] ?? ""));

export function go(to: string): void {
  if (to === location_.value) return;
  window.history.pushState(null, "", to);
  location_.value = to;
  window.scrollTo(0, 0);
}

/** Changes parameters of this view; `null` removes one, a list stands several times. */
export function setQuery(changes: Record<string, string | string[] | null>, replace = true): void {
  const next = new URLSearchParams(query.value);
  for (const [name, value] of Object.entries(changes)) {
    next.delete(name);
    for (const one of Array.isArray(value) ? value : [value]) if (one !== null && (one !== "" || Array.isArray(value))) next.append(name, one);
  }
  const text = next.toString();
  const to = path.value + (text ? `?${text}` : "");
  if (replace) window.history.replaceState(null, "", to);
  else window.history.pushState(null, "", to);
  location_.value = to;
}

/** Follows plain clicks on links of ours without a page load. */
document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
  const link = (event.target as Element | null)?.closest("a");
  const href = link?.getAttribute("href");
  if (!link || !href?.startsWith("/") || link.target || href.startsWith("/obs/") || href.startsWith("/api/")) return;
  event.preventDefault();
  go(href);
});
