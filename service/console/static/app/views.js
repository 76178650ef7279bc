// The entries of the side bar in their groups: the name of the view, and who sees it.

import { nav } from "../messages/common.js";
import { canAdminister, canAudit, canRead } from "./session.js";

export const GROUPS = [
  [nav.build, [["playground", canRead], ["assistants", canRead], ["files", canRead]]],
  [nav.watch, [["overview", canRead], ["threads", canRead], ["audit", canAudit]]],
  [nav.manage, [["keys", canAdminister], ["webhooks", canRead], ["health", canAdminister]]],
];

/** Returns the names of the views that the person sees. */
export const visibleViews = () => GROUPS.flatMap(([, entries]) => entries.filter(([, isShown]) => isShown()).map(([name]) => name));
