// The reports of runs, tokens, costs and failures for a span of time, as the overview shows them.

import { get, withQuery } from "./api.js";

const HOUR_S = 3600;
const DAY_S = 24 * HOUR_S;
const USAGE = "/v1/organization/usage";

/** The spans that a person can choose: their length in seconds, and the buckets of their plots. */
export const RANGES = {
  hour: { seconds: HOUR_S, width: "1m", bucket_s: 60 },
  day: { seconds: DAY_S, width: "1h", bucket_s: HOUR_S },
  week: { seconds: 7 * DAY_S, width: "1h", bucket_s: HOUR_S },
  month: { seconds: 30 * DAY_S, width: "1d", bucket_s: DAY_S },
};

/** Returns {runs, active, models, failures} of the span that ends now. Costs are whole days. */
export async function readReports(range) {
  const { seconds, width, bucket_s: bucket } = RANGES[range];
  const end = Math.floor(Date.now() / 1000) + 1;
  const start = Math.ceil((end - seconds) / bucket) * bucket;
  const limit = Math.ceil((end - start) / bucket);
  const span = { start_time: start, end_time: end };
  const days = { start_time: Math.floor(start / DAY_S) * DAY_S, end_time: end };
  const [runs, tokens, costs, failures] = await Promise.all([
    get(withQuery(`${USAGE}/runs`, { ...span, bucket_width: width, limit })),
    get(withQuery(`${USAGE}/completions`, { ...days, bucket_width: "1d", limit: 31, "group_by[]": "model" })),
    get(withQuery("/v1/organization/costs", { ...days, limit: 31, "group_by[]": "line_item" })),
    get(withQuery(`${USAGE}/failures`, { ...span, "group_by[]": ["model", "assistant_id"] })),
  ]);
  return { buckets: runs.data, active: runs.active, models: sumByModel(tokens.data), costs: sumCosts(costs.data), days: daysOf(tokens.data, costs.data), failures: failures.data };
}

const results = (buckets) => buckets.flatMap((bucket) => bucket.results);

function sumByModel(buckets) {
  const found = new Map();
  for (const one of results(buckets)) {
    const sum = found.get(one.model) ?? { model: one.model, calls: 0, input: 0, output: 0 };
    sum.calls += one.num_model_requests;
    sum.input += one.input_tokens;
    sum.output += one.output_tokens;
    found.set(one.model, sum);
  }
  return [...found.values()].sort((a, b) => b.input + b.output - a.input - a.output);
}

function sumCosts(buckets) {
  const found = new Map();
  for (const one of results(buckets)) {
    const name = one.line_item ?? "";
    found.set(name, (found.get(name) ?? 0) + one.amount.value);
  }
  return found;
}

/** Returns tokens and dollars of each day, the newest first. */
function daysOf(tokens, costs) {
  const amounts = new Map(costs.map((bucket) => [bucket.start_time, bucket.results.reduce((sum, one) => sum + one.amount.value, 0)]));
  return tokens
    .map(({ start_time: at, results: of }) => ({
      at,
      tokens: of.reduce((sum, one) => sum + one.input_tokens + one.output_tokens, 0),
      dollars: amounts.get(at) ?? 0,
    }))
    .filter((day) => day.tokens || day.dollars)
    .reverse();
}

/** Returns the sum of a number of all buckets. */
export const total = (buckets, name) => results(buckets).reduce((sum, one) => sum + one[name], 0);

/** Returns the values of a number, one for each bucket. A bucket without runs has `empty`. */
export function valuesOf(buckets, read, empty) {
  return buckets.map((bucket) => (bucket.results.length ? read(bucket.results[0]) : empty));
}
