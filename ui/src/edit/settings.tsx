import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { getText, send } from "../api/client";
import { View } from "../components/ui";
import { useLoad } from "../state/load";
import { get } from "../api/client";
import { at, obj, objects, setAt, str, type Json, type Obj } from "./board";
import { Choice, Text, Tick } from "./fields";

const KINDS: [string, string][] = [["query", "Query"], ["custom", "List"], ["constant", "Constant"], ["textbox", "Text box"], ["interval", "Interval"], ["adhoc", "Label filters"], ["datasource", "Data source"], ["groupby", "Group by"], ["switch", "Switch"]];

interface Form {
  doc: Obj;
  change: (doc: Obj, key?: string) => void;
}

/** Title, range, variables and annotations of the dashboard. */
export function Settings(props: Form): JSX.Element {
  const { doc } = props;
  const set = (path: string, value: Json | undefined) => props.change(setAt(doc, path, value), path);
  const words = (v: string) => v.split(",").map((x) => x.trim()).filter(Boolean);
  return (
    <div class="stack form">
      <fieldset>
        <legend>Dashboard</legend>
        <Text label="Title" value={str(doc["title"])} change={(v) => set("title", v)} />
        <Text label="Description" value={str(doc["description"])} change={(v) => set("description", v)} />
        <div class="fields">
          <Text label="Tags, between commas" value={(Array.isArray(doc["tags"]) ? doc["tags"] : []).map(String).join(", ")} change={(v) => set("tags", words(v))} />
          <Text label="From" value={str(at(doc, "time.from"))} placeholder="now-1h" change={(v) => set("time.from", v)} />
          <Text label="To" value={str(at(doc, "time.to"))} placeholder="now" change={(v) => set("time.to", v)} />
          <Text label="Refresh every" value={str(doc["refresh"])} placeholder="30s" change={(v) => set("refresh", v)} />
        </div>
      </fieldset>
      <Variables {...props} />
      <Annotations {...props} />
    </div>
  );
}

function queryOf(v: Obj): string {
  return str(v["query"]) || str(obj(v["query"])["query"]);
}

function Variables(props: Form): JSX.Element {
  const list = objects(at(props.doc, "templating.list")).filter((v) => !/^ds_(prometheus|loki|tempo)$/.test(str(v["name"])));
  const own = objects(at(props.doc, "templating.list")).filter((v) => !list.includes(v));
  const put = (next: Obj[], key?: string) => props.change(setAt(props.doc, "templating.list", [...own, ...next]), key);
  return (
    <fieldset>
      <legend>Variables</legend>
      {list.map((v, i) => {
        const kind = str(v["type"]);
        const edit = (change: Obj, key: string) => put(list.map((x, j) => (j === i ? { ...x, ...change } : x)), `${key}${i}`);
        const query = (text: string) => edit(kind === "query" ? { query: { ...obj(v["query"]), query: text, refId: "variable" }, definition: text } : { query: text, options: [], current: {} }, "variable-query");
        return (
          <div class="asked" key={i} role="group" aria-label={`Variable ${str(v["name"])}`}>
            <div class="fields">
              <Text label="Name" value={str(v["name"])} mono change={(t) => edit({ name: t }, "variable-name")} />
              <Text label="Label" value={str(v["label"])} change={(t) => edit({ label: t }, "variable-label")} />
              <Choice label="Kind" value={kind} options={KINDS} change={(t) => edit({ type: t, query: t === "query" ? { query: queryOf(v), refId: "variable" } : queryOf(v), options: [], current: {} }, "variable-kind")} />
            </div>
            {kind !== "adhoc" && <Text label={kind === "query" ? "Query" : kind === "custom" || kind === "interval" ? "Values, between commas" : "Value"} value={queryOf(v)} mono placeholder={kind === "query" ? "label_values(up, job)" : ""} change={query} />}
            {kind === "query" && <Text label="Part of each value (regular expression)" value={str(v["regex"])} mono change={(t) => edit({ regex: t }, "variable-regex")} />}
            <div class="row">
              {(kind === "query" || kind === "custom") && <Tick label="Several at once" value={v["multi"] === true} change={(on) => edit({ multi: on }, "")} />}
              {(kind === "query" || kind === "custom") && <Tick label="Offers All" value={v["includeAll"] === true} change={(on) => edit({ includeAll: on }, "")} />}
              <Tick label="Hidden" value={v["hide"] === 2} change={(on) => edit({ hide: on ? 2 : 0 }, "")} />
              <span class="grow" />
              <button class="small" aria-label={`Variable ${i + 1} up`} disabled={i === 0} onClick={() => put(list.map((x, j) => (j === i - 1 ? v : j === i ? (list[i - 1] ?? x) : x)))}>↑</button>
              <button class="small" aria-label={`Delete variable ${str(v["name"])}`} onClick={() => put(list.filter((_, j) => j !== i))}>Delete</button>
            </div>
          </div>
        );
      })}
      <button class="small" onClick={() => put([...list, { name: `variable${list.length + 1}`, type: "query", label: "", query: { query: "label_values(up, job)", refId: "variable" }, definition: "label_values(up, job)", regex: "", multi: false, includeAll: false, hide: 0, refresh: 2, sort: 1, options: [], current: {} }])}>Add a variable</button>
    </fieldset>
  );
}

function Annotations(props: Form): JSX.Element {
  const all = objects(at(props.doc, "annotations.list"));
  const builtIn = all.filter((a) => a["builtIn"] === 1);
  const list = all.filter((a) => a["builtIn"] !== 1);
  const put = (next: Obj[], key?: string) => props.change(setAt(props.doc, "annotations.list", [...builtIn, ...next]), key);
  return (
    <fieldset>
      <legend>Annotations</legend>
      {list.map((a, i) => {
        const edit = (change: Obj, key: string) => put(list.map((x, j) => (j === i ? { ...x, ...change } : x)), `${key}${i}`);
        return (
          <div class="asked" key={i} role="group" aria-label={`Annotation ${str(a["name"])}`}>
            <div class="fields">
              <Text label="Name" value={str(a["name"])} change={(t) => edit({ name: t }, "annotation-name")} />
              <Text label="Colour" value={str(a["iconColor"])} change={(t) => edit({ iconColor: t }, "annotation-color")} />
            </div>
            <Text label="PromQL; each rise above 0 is a mark" value={str(a["expr"])} mono change={(t) => edit({ expr: t }, "annotation-expr")} />
            <div class="row">
              <Tick label="On" value={a["enable"] !== false} change={(on) => edit({ enable: on }, "")} />
              <span class="grow" />
              <button class="small" aria-label={`Delete annotation ${str(a["name"])}`} onClick={() => put(list.filter((_, j) => j !== i))}>Delete</button>
            </div>
          </div>
        );
      })}
      <button class="small" onClick={() => put([...list, { name: `Annotation ${list.length + 1}`, enable: true, hide: false, iconColor: "purple", datasource: { type: "prometheus", uid: "${ds_prometheus}" }, expr: "changes(up[5m]) > 0" }])}>Add an annotation</button>
    </fieldset>
  );
}

/** The whole dashboard as text. */
export function WholeJson(props: Form): JSX.Element {
  const [text, setText] = useState(() => JSON.stringify(props.doc, null, 2));
  const [error, setError] = useState("");
  const apply = () => {
    try {
      const parsed = JSON.parse(text) as Json;
      if (!Array.isArray(obj(parsed)["panels"])) throw new Error("a dashboard is an object with panels");
      setError("");
      props.change(obj(parsed));
    } catch (e) {
      setError(e instanceof Error ? e.message : String(e));
    }
  };
  return (
    <div class="stack">
      <label class="field"><span>Grafana JSON of the dashboard</span><textarea class="mono" rows={28} spellcheck={false} value={text} onInput={(e) => setText(e.currentTarget.value)} /></label>
      {error && <p class="bad" role="alert">{error}</p>}
      <button onClick={apply}>Apply the JSON</button>
    </div>
  );
}

interface Version {
  version: number;
  saved_at: string;
  by: string;
  message: string;
  deleted: boolean;
}

/** Earlier saves, each of which can be taken up again. */
export function Versions(props: { id: string; change: (doc: Obj) => void }): JSX.Element {
  const all = useLoad(props.id, (signal) => get<{ versions: Version[] }>(`/obs/dashboards/${encodeURIComponent(props.id)}/versions`, {}, signal));
  const [took, setTook] = useState("");
  const take = async (n: number) => {
    props.change(JSON.parse(await getText(`/obs/dashboards/${encodeURIComponent(props.id)}/grafana?version=${n}`)) as Obj);
    setTook(`Version ${n} is in the editor; save it to show it.`);
  };
  const remove = async () => {
    await send("DELETE", `/obs/dashboards/${encodeURIComponent(props.id)}`);
    window.location.assign("/dashboards");
  };
  return (
    <View of={all} empty={(d) => d.versions.length === 0} none="It was never saved here; it comes from a pack or a file.">
      {(d) => (
        <div class="stack">
          <table>
            <thead><tr><th class="num">Version</th><th>Saved</th><th>By</th><th>Why</th><th /></tr></thead>
            <tbody>{d.versions.map((v) => (
              <tr key={v.version}><td class="num">{v.version}</td><td class="nowrap">{v.saved_at}</td><td>{v.by}</td><td>{v.message}</td>
                <td>{!v.deleted && <button class="small" onClick={() => void take(v.version)}>Take up</button>}</td></tr>
            ))}</tbody>
          </table>
          {took && <p role="status">{took}</p>}
          <button class="small" onClick={() => { if (window.confirm("Delete what was saved? What a pack or file brings is shown again.")) void remove(); }}>Delete what was saved</button>
        </div>
      )}
    </View>
  );
}
