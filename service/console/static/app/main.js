// Starts the console.

import { interceptLinks } from "./router.js";
import { applyTheme } from "./theme.js";
import "./shell.js";

applyTheme();
interceptLinks();
