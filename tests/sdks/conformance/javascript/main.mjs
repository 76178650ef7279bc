// Runs scenarios under the SDK in a folder, and prints what each saw: one line of JSON a scenario.
//
//     node main.mjs FOLDER SDK NAME…
//
// Base URL and key are in the environment, as for any program. {name, saw}, {name, error}, or {name} alone for a
// scenario that this program does not know.

import { createRequire } from "node:module";
import { resolve } from "node:path";

import { newer, older } from "./calls.mjs";
import * as errors from "./errors.mjs";
import * as files from "./files.mjs";
import * as objects from "./objects.mjs";
import * as runs from "./runs.mjs";
import * as streams from "./streams.mjs";
import * as surroundings from "./surroundings.mjs";

const [folder, sdk, ...names] = process.argv.slice(2);
const openai = createRequire(resolve(folder, "package.json"))("openai");
const scenarios = { ...objects, ...runs, ...streams, ...files, ...errors, ...surroundings };
const v1 = sdk === "npm-4.36.0";

async function perform(name) {
  const scenario = scenarios[name];
  if (!scenario) return {};
  const client = new openai.OpenAI();
  // The model server answers by the model's name, so that each scenario has replies of its own.
  const ctx = { openai, client, calls: (v1 ? older : newer)(client), model: `${name}.${sdk}.`, v1 };
  try {
    return { saw: await scenario(ctx) };
  } catch (error) {
    return { error: error.stack };
  }
}

for (const name of names) console.log(JSON.stringify({ name, ...(await perform(name)) }));
