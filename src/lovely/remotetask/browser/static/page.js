// The page: its parts, its words, and how it asks the server.

export const root = document.querySelector('.async');
export const first = selector => root.querySelector(selector);
export const all = selector => root.querySelectorAll(selector);
export const words = JSON.parse(root.dataset.words);
export const say = (text, values) => text.replace(
  /\$\{(\w+)\}/g, (_, name) => values[name]);

export const parsed = text => new DOMParser().parseFromString(
  text, 'text/html');

// The address of the page; it does not say to what place one was led there.
export function address() {
  const found = new URL(location.href);
  found.hash = '';
  return found;
}

// How long is waited for an answer, in milliseconds.
const PATIENCE = 30000;

export const ask = (where, options = {}) => fetch(where, {
  redirect: 'manual', signal: AbortSignal.timeout(PATIENCE), ...options});

// When the server has answered, in milliseconds; null for what is no page of
// ours, but one to log in, say.
export const answered = response => (
  Number(response.headers.get('X-Async-Time')) || null);

export const isSignedOut = response => response.status === 401
  || response.status === 403 || response.type === 'opaqueredirect';
