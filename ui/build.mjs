// Bundles the portal into one folder: `node build.mjs [OUT]`. Everything it needs is in there.
import { build } from "esbuild";
import { copyFile, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "dist");

await mkdir(out, { recursive: true });
await build({
  entryPoints: { portal: join(here, "src/main.tsx") },
  outdir: out,
  bundle: true,
  // What is imported when it is needed, such as the completer, is a file of its own.
  splitting: true,
  chunkNames: "[name]-[hash]",
  minify: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  logLevel: "warning",
});
await copyFile(join(here, "src/index.html"), join(out, "index.html"));
await copyFile(join(here, "src/favicon.svg"), join(out, "favicon.svg"));
