#!/usr/bin/env node
// SPDX-License-Identifier: MIT
// A persistent worker: fettled starts it once and hands it job after job, RUNS at a time.
//
//     { class = "Resize"; worker = [ "node", "/opt/app/worker.js" ]; concurrency = 16; }
const fs = require("fs");
const readline = require("readline");

const RUNS = 16;
const cancelled = new Set();

// Whole lines: a pipe takes what it has room for.
function say(message) {
  let bytes = Buffer.from(JSON.stringify(message) + "\n");
  while (bytes.length > 0) bytes = bytes.subarray(fs.writeSync(4, bytes));
}

class Cancelled extends Error {}

// The work. It looks now and then whether it is wanted still.
async function resize(token, name, steps = 1) {
  if (typeof name !== "string") throw new TypeError("expected [name]");
  for (let step = 0; step < steps; step++) {
    if (cancelled.has(token)) throw new Cancelled();
    say({ progress: token, at: step, total: steps, message: "resizing " + name });
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  console.log("resized", name); // a line in the log, under the job's id
  return { name };
}

async function run(token, job) {
  try {
    say({ done: token, result: await resize(token, ...job.args) });
  } catch (error) {
    if (error instanceof Cancelled) say({ cancelled: token });
    else
      say({ failed: token, error_class: error.constructor.name, error_message: error.message,
            backtrace: error.stack.split("\n").slice(1) });
  }
  cancelled.delete(token);
}

const lines = readline.createInterface({ input: fs.createReadStream(null, { fd: 3 }) });
lines.on("line", (line) => {
  const message = JSON.parse(line);
  if (message.run) run(message.run, message.job);
  else if (message.cancel) cancelled.add(message.cancel);
  else if (message.fettle) say({ ready: RUNS, protocol: message.fettle });
});
lines.on("close", () => process.exit(0)); // fettled has closed it: there is no more to do
