// Turns Markdown into nodes: parsed by markdown-it, sanitised by DOMPurify, with code by highlight.js and formulas by KaTeX.

import DOMPurify from "../vendor/dompurify/purify.es.mjs";
import MarkdownIt from "../vendor/markdown-it/markdown-it.esm.min.mjs";
import { highlight } from "./highlight.js";
import { mathRule } from "./math-rule.js";

const TAGS = [
  ..."a b blockquote br code del em h1 h2 h3 h4 h5 h6 hr i li ol p pre s span strong sub sup".split(" "),
  ..."table tbody td th thead tr ul".split(" "),
];
const SAFE = {
  ALLOWED_TAGS: TAGS,
  ALLOWED_ATTR: ["href", "title", "start", "data-formula", "data-display", "data-language", "data-align"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ADD_URI_SAFE_ATTR: ["title", "start", "data-formula", "data-display", "data-language", "data-align"],
  ALLOW_ARIA_ATTR: false,
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

const markdown = new MarkdownIt({ html: false, linkify: false, breaks: false }).use(mathRule);
const { escapeHtml } = markdown.utils;
// Images are not loaded: an address may hold what an attacker wants to learn. The reader sees the text and the address.
markdown.renderer.rules.image = (tokens, at) => {
  const source = tokens[at].attrGet("src") ?? "";
  return `<code>[${escapeHtml(tokens[at].content || "image")}] ${escapeHtml(source.slice(0, 200))}</code>`;
};
// Cells are aligned by a class, since the policy of the page blocks style attributes.
for (const cell of ["th_open", "td_open"]) {
  markdown.renderer.rules[cell] = (tokens, at) => {
    const isRight = /right/.test(tokens[at].attrGet("style") ?? "");
    return `<${tokens[at].tag}${isRight ? ' data-align="right"' : ""}>`;
  };
}
markdown.renderer.rules.fence = (tokens, at) => {
  const language = tokens[at].info.trim().split(/\s+/)[0];
  return `<pre data-language="${escapeHtml(language)}"><code>${escapeHtml(tokens[at].content)}</code></pre>`;
};

/** Returns a fragment of the Markdown `text`. */
export function renderMarkdown(text) {
  const fragment = DOMPurify.sanitize(markdown.render(text), SAFE);
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const code of fragment.querySelectorAll("pre > code")) {
    highlight(code, code.parentNode.dataset.language);
    code.parentNode.tabIndex = 0;
  }
  for (const table of fragment.querySelectorAll("table")) wrap(table);
  const formulas = fragment.querySelectorAll("[data-formula]");
  if (formulas.length) renderFormulas([...formulas]);
  return fragment;
}

/** Lets a wide table scroll by itself. */
function wrap(table) {
  const frame = document.createElement("div");
  frame.className = "table-frame";
  frame.tabIndex = 0;
  table.replaceWith(frame);
  frame.append(table);
}

/** Renders formulas into their nodes. KaTeX is loaded with the first formula. */
async function renderFormulas(nodes) {
  const { katex } = await import("./katex.js");
  for (const node of nodes) {
    katex.render(node.dataset.formula, node, {
      displayMode: node.dataset.display === "true",
      throwOnError: false,
      trust: false,
      maxSize: 20,
      maxExpand: 500,
    });
  }
}
