// Slice after slice, until all is done, or stopped.

import {all, say, words} from './page.js';

const pause = seconds => new Promise(
  resolve => { setTimeout(resolve, 1000 * seconds); });

async function doSlice(form, asked) {
  // A field of the form is called action, too.
  const response = await fetch(form.getAttribute('action'), {
    method: 'POST', body: JSON.stringify(asked),
    headers: {'Content-Type': 'application/json'}});
  const type = response.headers.get('Content-Type') ?? '';
  if (!type.includes('json')) throw new Error(response.status);
  return {...await response.json(), ok: response.ok};
}

async function doAll(form) {
  const button = form.querySelector('button:not(.stop)');
  const progress = form.querySelector('.progress');
  const stop = form.querySelector('.stop');
  // Where it was stopped, it goes on.
  const {token, ...asked} = form.asked
    ?? Object.fromEntries(new FormData(form));
  let goes = true;
  let seconds = 0.5;
  stop.onclick = () => { goes = false; };
  button.disabled = true;
  stop.hidden = false;
  stop.focus();
  while (goes) {
    // If an answer was lost, what was done is not done twice.
    const found = await doSlice(form, asked).catch(() => null);
    if (!found) {
      progress.textContent = words.away;
      await pause(seconds);
      seconds = Math.min(2 * seconds, 8);
      continue;
    }
    seconds = 0.5;
    progress.textContent = found.ok ? say(words.done, found) : found.detail;
    if (!found.ok || !found.after) break;
    form.asked = Object.assign(asked, {after: found.after,
      done: String(found.done), skipped: String(found.skipped)});
  }
  stop.hidden = true;
  if (!goes && form.asked) {
    button.disabled = false;
    button.textContent = words['go-on'];
  }
}

for (const form of all('[data-bulk]')) {
  form.addEventListener('submit', event => {
    event.preventDefault();
    doAll(form);
  });
}
