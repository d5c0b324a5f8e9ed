// Writes a report from the state, with the template in the node's config or a default text about measured numbers.

import { callTool, emit, log, node, tool } from "heddle-plugin";

import { fill } from "./template.js";

const text = { type: "string" };

const USUAL = `{{statistics.count}} numbers from {{statistics.smallest}} to {{statistics.largest}}, {{statistics.median}} in the middle.
{{#bars}}{{from}} | {{bar}} {{count}}
{{/bars}}{{#statistics.outliers}}{{.}} stands out.
{{/statistics.outliers}}{{^statistics.outliers}}None stands out.
{{/statistics.outliers}}`;

node(
  {
    name: "report",
    summary: "Fills a template with the state, and leaves the text under the key `report`.",
    input: {
      type: "object",
      properties: { statistics: { type: "object" }, histogram: { type: "object" }, values: { type: "array" } },
    },
    output: { type: "object", properties: { report: text }, required: ["report"] },
    config: { type: "object", properties: { template: { ...text, description: "In place of the one for numbers." } } },
    readOnly: true,
    idempotent: true,
  },
  (state, call) => {
    const histogram = state.histogram ?? (state.values && callTool("histogram/histogram", { numbers: state.values }));
    const report = fill(call.config?.template ?? USUAL, { ...state, bars: bars(histogram) });
    for (const line of report.trimEnd().split("\n")) emit({ line });
    log.info(`a report of ${report.length} characters`);
    return { report };
  },
);

tool(
  {
    name: "fill",
    summary: "Fills a template in the manner of Mustache.",
    input: {
      type: "object",
      properties: {
        template: { ...text, description: "{{key}}, {{#list}}...{{/list}}, {{^list}}...{{/list}}" },
        data: { type: "object" },
      },
      required: ["template", "data"],
    },
    output: text,
    readOnly: true,
    idempotent: true,
  },
  ({ template, data }) => fill(template, data),
);

function bars(histogram) {
  if (!histogram) return [];
  const most = Math.max(...histogram.counts);
  return histogram.counts.map((count, bin) => ({
    from: (histogram.low + bin * histogram.width).toFixed(1).padStart(8),
    bar: "#".repeat(Math.round((20 * count) / most)).padEnd(20),
    count,
  }));
}
