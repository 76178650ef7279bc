// KaTeX, which its package offers as a script. It renders into nodes, and so sets no style attribute that is parsed.

import "../vendor/katex/katex.min.js";

const sheet = document.createElement("link");
sheet.rel = "stylesheet";
sheet.href = new URL("../vendor/katex/katex.min.css", import.meta.url);
document.head.append(sheet);

export const { katex } = globalThis;
