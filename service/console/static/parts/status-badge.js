// The status of a run, a step or a file: a word with a dot, so that colour alone says nothing.

import { define, Element, html } from "../app/element.js";
import { statuses } from "../messages/common.js";

const TONES = {
  completed: "good",
  processed: "good",
  enabled: "good",
  ok: "good",
  in_progress: "live",
  queued: "live",
  cancelling: "live",
  requires_action: "warn",
  incomplete: "warn",
  expired: "warn",
  failed: "bad",
  error: "bad",
  cancelled: "calm",
  disabled: "calm",
};

class StatusBadge extends Element {
  static properties = { status: {} };

  render() {
    const tone = TONES[this.status] ?? "calm";
    return html`<span class="badge ${tone}"><i></i>${statuses[this.status] ?? this.status}</span>`;
  }
}

define("et-status", StatusBadge);
