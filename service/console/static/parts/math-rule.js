// A rule of markdown-it for formulas: $x$, $$x$$, \(x\) and \[x\]. Amounts of money stay text.

const MARKS = [
  ["$$", "$$", true],
  ["\\[", "\\]", true],
  ["\\(", "\\)", false],
  ["$", "$", false],
];
const MAX_FORMULA = 2000;

export function mathRule(markdown) {
  markdown.inline.ruler.before("escape", "formula", (state, silent) => {
    for (const [open, close, isDisplay] of MARKS) {
      if (!state.src.startsWith(open, state.pos)) continue;
      const start = state.pos + open.length;
      const end = state.src.indexOf(close, start);
      if (end < 0 || end === start || end - start > MAX_FORMULA || !isFormula(state.src, open, start, end)) continue;
      if (!silent) {
        const token = state.push("formula", "span", 0);
        token.content = state.src.slice(start, end);
        token.meta = { isDisplay };
      }
      state.pos = end + close.length;
      return true;
    }
    return false;
  });
  const { escapeHtml } = markdown.utils;
  markdown.renderer.rules.formula = (tokens, at) => {
    const { content, meta } = tokens[at];
    const formula = escapeHtml(content);
    return `<span data-formula="${formula}" data-display="${meta.isDisplay}">${formula}</span>`;
  };
}

/** Whether `$…$` is a formula: no space inside its ends, and no digit behind it. */
function isFormula(text, open, start, end) {
  if (open !== "$") return true;
  return !/\s/.test(text[start]) && !/\s/.test(text[end - 1]) && !/[0-9]/.test(text[end + 1] ?? "");
}
