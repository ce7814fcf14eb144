// The page looks at itself again and again.

import {address, answered, ask, first, isSignedOut, say, words}
  from './page.js';
import {isInUse, show} from './patch.js';
import {setClock, showTimes} from './times.js';

const choice = first('.refresh select');
const line = first('.live-line');
const announced = first('.announced');
const goOn = first('.go-on');
const IDLE = 30 * 60 * 1000;
let timer;
let etag;
let failures = 0;
// Nobody sets this clock.
let touched = performance.now();
let isAsking = false;
let isOver = false;

const interval = () => Number(choice.value) * 1000;
const isIdle = () => performance.now() - touched > IDLE;
const mayAsk = () => !isAsking && !isOver && interval() && !document.hidden;

function next() {
  clearTimeout(timer);
  if (!mayAsk()) return;
  const wait = Math.min(60000, interval() * 2 ** failures);
  timer = setTimeout(refresh, wait * (0.9 + Math.random() * 0.2));
}

// What is said each time is not read out; what is new, is.
function tell(text, aloud = false) {
  if (line.textContent !== text) line.textContent = text;
  const said = aloud ? text : '';
  if (announced.textContent !== said) announced.textContent = said;
  goOn.hidden = text !== words.idle;
}

function end(text) {
  isOver = true;
  tell(text, true);
}

async function update() {
  const where = address();
  where.searchParams.set('fragment', '1');
  const response = await ask(where, {
    headers: etag ? {'If-None-Match': etag} : {}});
  const time = answered(response);
  if (time) setClock(time);
  if (isSignedOut(response)) return end(words['signed-out']);
  if (response.status === 404 && time) return end(words.removed);
  if (response.ok) {
    if (!time) throw new Error('foreign');
    const text = await response.text();
    if (isInUse()) return tell(words.held);
    etag = show(text) ? response.headers.get('ETag') : null;
  } else if (response.status !== 304) {
    throw new Error(time || response.status >= 500 ? 'away' : 'foreign');
  }
  tell(say(words.updated, {time: new Date().toLocaleTimeString()}));
}

async function refresh() {
  clearTimeout(timer);
  if (!mayAsk()) return;
  if (isIdle()) {
    tell(words.idle);
    return;
  }
  isAsking = true;
  try {
    await update();
    failures = 0;
  } catch (error) {
    failures += 1;
    tell(words[error.message === 'foreign' ? 'foreign' : 'away'], true);
  } finally {
    isAsking = false;
  }
  showTimes();
  next();
}

// A browser may refuse to remember anything.
const KEY = 'async-refresh';

function remembered() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function remember(value) {
  try {
    localStorage.setItem(KEY, value);
  } catch { /* It is chosen again next time. */ }
}

function touch() {
  const wasIdle = isIdle();
  touched = performance.now();
  if (wasIdle) refresh();
}

if (choice) {
  choice.value = remembered() ?? '5';
  if (!choice.value) choice.value = '5';
  choice.addEventListener('change', () => {
    remember(choice.value);
    isOver = false;
    tell('');
    next();
  });
  document.addEventListener('visibilitychange', next);
  for (const kind of ['pointermove', 'keydown', 'click']) {
    document.addEventListener(kind, touch, {passive: true});
  }
  next();
}
