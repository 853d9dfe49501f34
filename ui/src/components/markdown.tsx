import type { ComponentChildren, JSX } from "preact";

/** Only addresses that open a page; anything else is shown as text. */
function safe(url: string): boolean {
  return /^(https?:\/\/|\/(?!\/)|#|mailto:)/.test(url);
}

function inline(text: string): ComponentChildren[] {
  const out: ComponentChildren[] = [];
  const marks = /`([^`]+)`|\*\*([^*]+)\*\*|__([^_]+)__|\*([^*\s][^*]*)\*|!?\[([^\]]*)\]\(([^)\s]+)[^)]*\)|(https?:\/\/[^\s<)]+)/g;
  let at = 0;
  for (const m of text.matchAll(marks)) {
    out.push(text.slice(at, m.index));
    const [whole, code, bold, bold2, italic, name, url, bare] = m;
    if (code !== undefined) out.push(<code>{code}</code>);
    else if (bold ?? bold2) out.push(<b>{bold ?? bold2}</b>);
    else if (italic !== undefined) out.push(<em>{italic}</em>);
    else if (bare !== undefined) out.push(<a href={bare} target="_blank" rel="noreferrer">{bare}</a>);
    // Pictures would be loaded from elsewhere; their text stands for them.
    else if (whole.startsWith("!")) out.push(name ?? "");
    else out.push(url && safe(url) ? <a href={url} {...(url.startsWith("/") ? {} : { target: "_blank", rel: "noreferrer" })}>{name}</a> : name);
    at = m.index + whole.length;
  }
  out.push(text.slice(at));
  return out;
}

/** The text of an HTML panel without its tags: foreign markup is never put into the page. */
function stripped(html: string): string {
  const doc = new DOMParser().parseFromString(html.replace(/<(br|\/p|\/div|\/h\d|\/li)[^>]*>/gi, "$&\n"), "text/html");
  for (const a of doc.querySelectorAll("a[href]")) a.textContent = `[${a.textContent ?? ""}](${a.getAttribute("href") ?? ""})`;
  for (const h of doc.querySelectorAll("h1,h2,h3,h4")) h.textContent = `# ${h.textContent ?? ""}`;
  for (const x of doc.querySelectorAll("script,style")) x.remove();
  return doc.body.textContent ?? "";
}

/** Headings, lists, quotes, code, tables and emphasis; no HTML. */
export function Markdown(props: { text: string; mode?: string }): JSX.Element {
  if (props.mode === "code") return <pre>{props.text}</pre>;
  const text = props.mode === "html" || /^\s*</.test(props.text) ? stripped(props.text) : props.text;
  const lines = text.replaceAll("\r", "").split("\n");
  const out: JSX.Element[] = [];
  for (let i = 0; i < lines.length; ) {
    const line = lines[i] ?? "";
    const take = (test: (l: string) => boolean): string[] => {
      const from = i;
      while (i < lines.length && test(lines[i] ?? "")) i += 1;
      return lines.slice(from, i);
    };
    const heading = /^\s*(#{1,6})\s+(.*)/.exec(line);
    if (line.trim() === "") i += 1;
    else if (heading) {
      out.push(<div class={`h h${Math.min(4, heading[1]?.length ?? 1)}`} role="heading" aria-level={Math.min(6, (heading[1]?.length ?? 1) + 2)}>{inline(heading[2] ?? "")}</div>);
      i += 1;
    } else if (/^\s*(-{3,}|\*{3,})\s*$/.test(line)) {
      out.push(<hr />);
      i += 1;
    } else if (line.startsWith("```")) {
      i += 1;
      const code = take((l) => !l.startsWith("```"));
      i += 1;
      out.push(<pre>{code.join("\n")}</pre>);
    } else if (/^\s*[-*+]\s/.test(line)) out.push(<ul>{take((l) => /^\s*[-*+]\s/.test(l)).map((l) => <li>{inline(l.replace(/^\s*[-*+]\s/, ""))}</li>)}</ul>);
    else if (/^\s*\d+[.)]\s/.test(line)) out.push(<ol>{take((l) => /^\s*\d+[.)]\s/.test(l)).map((l) => <li>{inline(l.replace(/^\s*\d+[.)]\s/, ""))}</li>)}</ol>);
    else if (line.startsWith(">")) out.push(<blockquote>{inline(take((l) => l.startsWith(">")).map((l) => l.replace(/^>\s?/, "")).join(" "))}</blockquote>);
    else if (line.trim().startsWith("|")) {
      const rows = take((l) => l.trim().startsWith("|")).filter((l) => !/^[|\s:-]+$/.test(l)).map((l) => l.trim().replace(/^\||\|$/g, "").split("|"));
      out.push(<table>{rows.map((r, at) => <tr>{r.map((c) => (at === 0 ? <th>{inline(c.trim())}</th> : <td>{inline(c.trim())}</td>))}</tr>)}</table>);
    } else out.push(<p>{inline(take((l) => l.trim() !== "" && !/^\s*(#{1,6}\s|[-*+]\s|\d+[.)]\s|```|>|\|)/.test(l)).join(" ") || (lines[i++] ?? ""))}</p>);
  }
  return <div class="md">{out}</div>;
}
