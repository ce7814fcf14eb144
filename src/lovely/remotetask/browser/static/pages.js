// The pages work without this.  It shows them again and again, moves nothing
// under the pointer, and never touches what is in use.

const root = document.querySelector('.async');
const first = selector => root.querySelector(selector);
const all = selector => root.querySelectorAll(selector);
const words = JSON.parse(root.dataset.words);
const line = first('.live-line');
const announced = first('.announced');
const say = (text, values) => text.replace(
  /\$\{(\w+)\}/g, (_, name) => values[name]);

for (const found of all('[data-script]')) {
  found.hidden = false;
}

// On a small screen it may be beside what is seen.
for (const found of all('nav [aria-current]')) {
  found.scrollIntoView({block: 'nearest', inline: 'center'});
}

// How long ago something was.

function relative(seconds) {
  for (const [size, past, ahead] of words.units) {
    if (Math.abs(seconds) >= size) {
      return say(seconds > 0 ? past : ahead,
        {number: Math.floor(Math.abs(seconds) / size)});
    }
  }
  return words.now;
}

// The clock of the reader may be wrong.
let ahead = 0;

function showTimes() {
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

// Light or dark.

const theme = first('.theme');
const dark = matchMedia('(prefers-color-scheme: dark)');
const isDark = () => (document.documentElement.dataset.theme
  || (dark.matches ? 'dark' : 'light')) === 'dark';

function showTheme() { theme.setAttribute('aria-pressed', isDark()); }

theme.addEventListener('click', () => {
  const chosen = isDark() ? 'light' : 'dark';
  document.documentElement.dataset.theme = chosen;
  document.cookie = `async-theme=${chosen};path=/;max-age=31536000;`
    + 'samesite=lax';
  showTheme();
});
dark.addEventListener('change', showTheme);
showTheme();

const parsed = text => new DOMParser().parseFromString(text, 'text/html');

// Copying, and asking before what cannot be undone.

root.addEventListener('click', async event => {
  if (!event.target.matches('.copy')) return;
  await navigator.clipboard.writeText(
    event.target.parentNode.querySelector('pre').textContent);
  event.target.textContent = words.copied;
});

root.addEventListener('submit', event => {
  const question = event.submitter?.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

// Check all rows.

first('input.all')?.addEventListener('change', event => {
  for (const box of all('tbody [name="job"]')) {
    box.checked = event.target.checked;
  }
});

// A list that has found nothing looks on by itself, for a while.

async function lookOn(place, left = 24) {
  if (!place || !left) return;
  const {href} = place.querySelector('a');
  const response = await fetch(`${href}&fragment=1`);
  if (!response.ok) return;
  const other = parsed(await response.text()).querySelector('.onward');
  if (!other) location.replace(href);
  else place.replaceChildren(...other.childNodes);
  lookOn(other && place, left - 1);
}

lookOn(first('.onward'));

// Slice after slice, until all is done, or stopped.

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

// Whether the reader is about to do something here.

const IN_USE = 'details[open]:not(.filters), dialog[open], input:checked';

function isInUse() {
  const content = first('#async-content');
  const focus = document.activeElement;
  const selection = getSelection();
  return content.querySelector(IN_USE)
    || (focus && focus !== content && content.contains(focus))
    || (!selection.isCollapsed && content.contains(selection.anchorNode));
}

// Patching: what is there keeps place and identity.

function patch(old, fresh) {
  if (old.outerHTML === fresh.outerHTML) return;
  if ('rows' in old.dataset && 'rows' in fresh.dataset) {
    patchRows(old, fresh);
  } else if (!old.querySelector('form')) {
    old.replaceChildren(...fresh.childNodes);
    old.hidden = fresh.hidden;
  }
}

const rowsOf = table => new Map(
  [...table.querySelectorAll('[data-row]')].map(
    row => [row.dataset.row, row]));

// Times are compared by what they say exactly.
const exact = cell => cell.innerHTML.replace(
  /(<time datetime="[^"]*")[^>]*>[^<]*/g, '$1');

function patchRows(old, fresh) {
  const now = rowsOf(fresh);
  for (const [id, row] of rowsOf(old)) {
    const other = now.get(id);
    now.delete(id);
    row.classList.toggle('gone', !other);
    if (!other) continue;
    let changed = false;
    [...row.cells].forEach((cell, number) => {
      const wanted = other.cells[number];
      if (cell.querySelector('form') || exact(cell) === exact(wanted)) return;
      cell.replaceChildren(...wanted.childNodes);
      changed = true;
    });
    row.classList.toggle('changed', changed);
  }
  showNewer(now.size);
}

function showNewer(number) {
  let link = first('.newer');
  if (!number) {
    link?.remove();
    return;
  }
  if (!link) {
    link = document.createElement('a');
    link.className = 'newer';
    link.href = location.href;
    // In a place that was kept free: no row moves.
    (first('.newer-place') || first('.heading')).append(link);
  }
  link.textContent = say(words.newer, {number});
}

function show(text) {
  for (const region of parsed(text).querySelectorAll('[data-region]')) {
    const old = first(`[data-region="${region.dataset.region}"]`);
    if (old) patch(old, region);
    else if ('rows' in region.dataset) showNewer(rowsOf(region).size);
  }
}

// Again and again.

const choice = first('.refresh select');
const IDLE = 30 * 60 * 1000;
let timer;
let etag;
let failures = 0;
let touched = Date.now();

const interval = () => Number(choice.value) * 1000;

function next() {
  clearTimeout(timer);
  if (!interval() || document.hidden) return;
  const wait = Math.min(60000, interval() * 2 ** failures);
  timer = setTimeout(refresh, wait * (0.9 + Math.random() * 0.2));
}

// What is said each time is not read out; what is new, is.
function tell(text, aloud = false) {
  if (line.textContent !== text) line.textContent = text;
  const said = aloud ? text : '';
  if (announced.textContent !== said) announced.textContent = said;
}

async function ask() {
  const address = new URL(location.href);
  address.hash = '';
  address.searchParams.delete('said');
  address.searchParams.set('fragment', '1');
  const response = await fetch(address, {
    headers: etag ? {'If-None-Match': etag} : {}, redirect: 'manual'});
  const date = Date.parse(response.headers.get('Date'));
  if (Math.abs(Date.now() - date) > 5000) ahead = Date.now() - date;
  return response;
}

// Returns whether to stop for good.
async function update() {
  const response = await ask();
  if (response.status === 401 || response.status === 403
      || response.type === 'opaqueredirect') {
    tell(words['signed-out'], true);
    return true;
  }
  if (response.status !== 304 && !response.ok) throw new Error('away');
  if (response.ok) {
    const text = await response.text();
    if (isInUse()) {
      tell(words.held);
      return false;
    }
    etag = response.headers.get('ETag');
    show(text);
  }
  tell(say(words.updated, {time: new Date().toLocaleTimeString()}));
  return false;
}

async function refresh() {
  if (Date.now() - touched > IDLE) return;
  try {
    if (await update()) return;
    failures = 0;
  } catch {
    failures += 1;
    tell(words.away, true);
  }
  showTimes();
  next();
}

if (choice) {
  choice.value = localStorage.getItem('async-refresh') ?? '5';
  if (!choice.value) choice.value = '5';
  choice.addEventListener('change', () => {
    localStorage.setItem('async-refresh', choice.value);
    tell('');
    next();
  });
  document.addEventListener('visibilitychange', next);
  for (const kind of ['pointermove', 'keydown']) {
    document.addEventListener(kind, () => {
      const wasIdle = Date.now() - touched > IDLE;
      touched = Date.now();
      if (wasIdle) next();
    }, {passive: true});
  }
  next();
}

showTimes();
setInterval(() => { if (!document.hidden) showTimes(); }, 5000);
