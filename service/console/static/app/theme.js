// The theme: light, dark, or the system's.

const KEY = "everthread-theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

export const theme = () => localStorage.getItem(KEY) ?? "system";

export function setTheme(name) {
  if (name === "system") localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, name);
  applyTheme();
}

export function applyTheme() {
  const name = theme();
  document.documentElement.dataset.theme = name === "system" ? (dark.matches ? "dark" : "light") : name;
  dispatchEvent(new CustomEvent("et-theme"));
}

dark.addEventListener("change", applyTheme);
