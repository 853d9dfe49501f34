// What every part of the portal's test needs: counting, waiting, a server, a browser.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
export const binary = process.env.VMOBS_BIN ?? join(root, "target/debug/vm-obs");
export const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
export const shots = join(root, "test-output/portal");
const PATIENCE = 60_000;
mkdirSync(shots, { recursive: true });

export const tally = { passed: 0, failed: 0 };

export async function check(name, work) {
  try {
    await work();
    tally.passed += 1;
    console.log(`ok: ${name}`);
  } catch (error) {
    tally.failed += 1;
    console.log(`FAILED: ${name}: ${error.stack ?? error}`);
  }
}

export async function until(what, ask) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const answer = await ask().catch(() => undefined);
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`${what} did not come`);
    await new Promise((done) => setTimeout(done, 250));
  }
}

/** A demo server in its own folder; `stop` ends it and removes the folder. */
export function startServer(folder) {
  const data = join(folder, "data");
  const server = spawn(
    binary,
    ["serve", "--demo", "--data", data, "--http", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0",
      "--otlp-http", "127.0.0.1:0", "--clock-speed", "20"],
    { stdio: "ignore" },
  );
  const addresses = join(data, "addresses.json");
  return {
    base: async () => {
      await until("the server", async () => existsSync(addresses) && readFileSync(addresses, "utf8").endsWith("\n"));
      return `http://${JSON.parse(readFileSync(addresses, "utf8")).http}`;
    },
    stop: async () => {
      const ended = new Promise((done) => server.once("exit", done));
      server.kill("SIGTERM");
      await Promise.race([ended, new Promise((done) => setTimeout(done, 20_000))]);
      if (server.exitCode === null && server.signalCode === null) server.kill("SIGKILL");
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export function openBrowser() {
  return chromium.launch({
    executablePath,
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
}
