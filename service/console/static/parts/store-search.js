// A search in a vector store: the passages with their scores, and why each came.

import { post } from "../app/api.js";
import { define, Element, html, nothing, notify } from "../app/element.js";
import { href, setQuery } from "../app/router.js";
import { stores as texts } from "../messages/files.js";

const MOST = 10;
const MOST_LETTERS = 4000;
const SHORTEST_WORD = 4;

/** Returns a text in pieces: [text, whether the question has the word]. */
export function markWords(text, question) {
  const words = new Set(question.toLowerCase().match(/[\p{L}\p{N}]+/gu)?.filter((word) => word.length >= SHORTEST_WORD) ?? []);
  return text.split(/([\p{L}\p{N}]+)/u).map((piece) => [piece, words.has(piece.toLowerCase())]);
}

class StoreSearch extends Element {
  static properties = { storeId: { attribute: false }, question: { attribute: false }, found: { state: true }, isBusy: { state: true } };

  updated(changes) {
    if (changes.has("question") && this.question && this.question !== this.asked) this.search();
  }

  async search() {
    this.asked = this.question;
    this.isBusy = true;
    try {
      const path = `/v1/vector_stores/${encodeURIComponent(this.storeId)}/search`;
      const { data } = await post(path, { query: this.question, max_num_results: MOST });
      this.found = { question: this.asked, passages: data };
    } catch (error) {
      notify(error.message, error.requestId);
    }
    this.isBusy = false;
  }

  submit(event) {
    event.preventDefault();
    const question = event.target.elements.question.value.trim();
    this.asked = null;
    if (question === this.question) this.search();
    else setQuery({ query: question });
  }

  passage({ score, filename, file_id: id, content }) {
    const text = content.map((part) => part.text).join("\n").slice(0, MOST_LETTERS);
    return html`<li class="card passage">
      <header><a href=${href("files", id)}><b>${filename}</b></a>
        <span class="tiny faint score">${texts.score} ${texts.scoreOf(score)}</span><progress class="meter" max="1" .value=${score} aria-label=${texts.score}></progress></header>
      <p class="small" tabindex="0">${markWords(text, this.found.question).map(([piece, isMarked]) => (isMarked ? html`<mark>${piece}</mark>` : piece))}</p>
    </li>`;
  }

  results() {
    if (this.isBusy) return html`<p class="faint small" role="status">${texts.searching}</p>`;
    if (!this.found) return nothing;
    if (!this.found.passages.length) return html`<p class="faint small" role="status">${texts.noPassage}</p>`;
    return html`<p class="tiny faint">${texts.why}</p><ul class="changes">${this.found.passages.map((one) => this.passage(one))}</ul>`;
  }

  render() {
    return html`<section class="search-box"><form class="inline-form" @submit=${this.submit}>
        <label class="grow"><span class="tiny faint">${texts.search}</span><input name="question" type="search" required .value=${this.question ?? ""} placeholder=${texts.searchHint} /></label>
        <button type="submit" class="primary"><et-icon name="search"></et-icon>${texts.searchNow}</button>
      </form>${this.results()}</section>`;
  }
}

define("et-store-search", StoreSearch);
