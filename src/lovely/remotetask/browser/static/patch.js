// What the server says now is put into the page.  What is there keeps place
// and identity: no row moves, and no button changes under the pointer.

import {address, first, parsed, say, words} from './page.js';

// Whether the reader is about to do something here.

const IN_USE = 'details[open]:not(.filters), dialog[open], input:checked';

export function isInUse() {
  const content = first('#async-content');
  const focus = document.activeElement;
  const selection = getSelection();
  return content.querySelector(IN_USE)
    || (focus && focus !== content && content.contains(focus))
    || (!selection.isCollapsed && content.contains(selection.anchorNode));
}

// Put a fragment into the page.  Returns whether nothing was left out.
export function show(text) {
  let isWhole = true;
  for (const fresh of parsed(text).querySelectorAll('[data-region]')) {
    const old = first(`[data-region="${fresh.dataset.region}"]`);
    if (old && !patch(old, fresh)) isWhole = false;
  }
  return isWhole;
}

// The functions below return the same.

function patch(old, fresh) {
  if ('rows' in old.dataset) return patchRows(old, fresh);
  if (old.outerHTML === fresh.outerHTML) return true;
  if (!replace(old, fresh)) return false;
  old.hidden = fresh.hidden;
  return true;
}

function replace(old, fresh) {
  if (old.matches(':hover') && old.querySelector('form')) {
    renew(old, fresh);
    return false;
  }
  old.replaceChildren(...fresh.childNodes);
  return true;
}

// A button that stays where it is does what it would do now, or nothing.
function renew(old, fresh) {
  const titleOf = form => form.querySelector('button').textContent;
  const now = new Map([...fresh.querySelectorAll('form')].map(
    form => [titleOf(form), form]));
  for (const form of old.querySelectorAll('form')) {
    const other = now.get(titleOf(form));
    form.querySelector('button').disabled = !other;
    if (other) form.setAttribute('action', other.getAttribute('action'));
  }
}

const rowsOf = table => new Map(
  [...table.querySelectorAll('[data-row]')].map(
    row => [row.dataset.row, row]));

function patchRows(old, fresh) {
  const there = rowsOf(old);
  const now = rowsOf(fresh);
  const column = columns(old, fresh);
  const actions = first('.selected');
  // There are boxes no more for who may not act any more.
  if (actions) actions.hidden = !fresh.querySelector('th.check');
  let isWhole = true;
  for (const [id, row] of there) {
    const other = now.get(id);
    if (!other) leave(row);
    else if (!patchRow(row, other, column)) isWhole = false;
  }
  countNewer(there, [...now.keys()], fresh.dataset);
  return isWhole;
}

// Who may do less now than before has fewer columns.
function columns(old, fresh) {
  const [names, others] = [old, fresh].map(table => (
    [...table.tHead.rows[0].cells].map(cell => cell.textContent.trim())));
  return names.map(name => others.indexOf(name));
}

// Times are compared by what they say exactly.
const exact = cell => cell.innerHTML.replace(
  /(<time datetime="[^"]*")[^>]*>[^<]*/g, '$1');

function patchRow(row, other, column) {
  let isWhole = true;
  let changed = false;
  row.classList.remove('gone');
  [...row.cells].forEach((cell, number) => {
    const wanted = other.cells[column[number]];
    if (!wanted || exact(cell) === exact(wanted)) return;
    if (replace(cell, wanted)) changed = true;
    else isWhole = false;
  });
  row.classList.toggle('changed', changed);
  return isWhole;
}

// What a row has told of its job may be wrong from now on.
function leave(row) {
  if (row.classList.contains('gone')) return;
  row.classList.remove('changed');
  row.classList.add('gone');
  const label = document.createElement('span');
  label.className = 'status';
  label.textContent = words.gone;
  const status = row.querySelector('.status');
  if (status) status.replaceWith(label);
  else row.cells[0].prepend(label, ' ');
}

function countNewer(there, ids, {rows, more}) {
  const last = ids.findLastIndex(id => there.has(id));
  // Below what was there stands what has moved up from the next page.
  const found = rows === 'newest' && last >= 0 ? ids.slice(0, last) : ids;
  const number = found.filter(id => !there.has(id)).length;
  showNewer(last < 0 && more ? `${number}+` : number);
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
    link.href = address();
    // In a place that was kept free: no row moves.
    (first('.newer-place') || first('.heading')).append(link);
  }
  link.textContent = say(words.newer, {number});
}
