// Slice after slice, until all is done, or stopped.

import {all, ask, isSignedOut, say, words} from './page.js';

const pause = seconds => new Promise(
  resolve => { setTimeout(resolve, 1000 * seconds); });

async function doSlice(form, asked) {
  // A field of the form is called action, too.
  const response = await ask(form.getAttribute('action'), {
    method: 'POST', body: JSON.stringify(asked),
    headers: {'Content-Type': 'application/json'}});
  const type = response.headers.get('Content-Type') ?? '';
  if (type.includes('json')) {
    return {...await response.json(), ok: response.ok};
  }
  // What stands before the server says that it is away.
  if (response.status >= 500) throw new Error(response.status);
  return {ok: false, detail: words[
    isSignedOut(response) ? 'signed-out' : 'foreign']};
}

async function doAll(form) {
  const button = form.querySelector('button:not(.stop)');
  const progress = form.querySelector('.progress');
  const stop = form.querySelector('.stop');
  // Where it was stopped, it goes on.
  const {token, ...asked} = form.asked
    ?? Object.fromEntries(new FormData(form));
  const tell = (...texts) => {
    progress.textContent = texts.filter(text => text).join(' ');
  };
  let goes = true;
  let seconds = 0.5;
  let found;
  stop.onclick = () => { goes = false; };
  button.disabled = true;
  stop.hidden = false;
  stop.focus();
  while (goes) {
    // If an answer was lost, what was done is not done twice.
    found = await doSlice(form, asked).catch(() => null);
    if (!found) {
      tell(words.away, form.told);
      await pause(seconds);
      seconds = Math.min(2 * seconds, 8);
      continue;
    }
    seconds = 0.5;
    if (!found.ok) {
      tell(found.detail, form.told);
      break;
    }
    form.told = say(words.done, found);
    tell(form.told);
    if (!found.after) break;
    form.asked = Object.assign(asked, {after: found.after,
      done: String(found.done), skipped: String(found.skipped)});
  }
  stop.hidden = true;
  if (found?.ok && !found.after) return;
  button.disabled = false;
  if (form.asked) button.textContent = words['go-on'];
}

for (const form of all('[data-bulk]')) {
  form.addEventListener('submit', event => {
    event.preventDefault();
    doAll(form);
  });
}
