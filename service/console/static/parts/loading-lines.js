// The place of content that loads. It appears only if the loading takes a while (css/parts.css).

import { define, Element, html } from "../app/element.js";
import { common } from "../messages/common.js";

class LoadingLines extends Element {
  render() {
    return html`<div class="loading" role="status"><span class="visually-hidden">${common.loading}</span><i></i><i></i><i></i></div>`;
  }
}

define("et-loading", LoadingLines);
