// How long ago something was.

import {all, root, say, words} from './page.js';

function relative(seconds) {
  for (const [size, past, ahead] of words.units) {
    if (Math.abs(seconds) >= size) {
      return say(seconds > 0 ? past : ahead,
        {number: Math.floor(Math.abs(seconds) / size)});
    }
  }
  return words.now;
}

// The clock of the reader may be wrong.  Up to so many milliseconds are the
// way of an answer.
const WAY = 5000;
let ahead = 0;

export function setClock(server) {
  const found = Date.now() - server;
  ahead = Math.abs(found) > WAY ? found : 0;
}

export function showTimes() {
  for (const found of all('time')) {
    const when = new Date(found.dateTime);
    const text = relative((Date.now() - ahead - when) / 1000);
    if (found.textContent !== text) found.textContent = text;
    if (!found.dataset.local) {
      found.dataset.local = 'yes';
      found.title = `${when.toLocaleString()} (${found.title})`;
    }
  }
}

setClock(Number(root.dataset.now));
showTimes();
setInterval(() => { if (!document.hidden) showTimes(); }, 5000);
