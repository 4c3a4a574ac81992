// The field for the address of a video on the web, which the server fetches.

import { $, text } from './dom.js';

/** Shows the field if the server fetches videos. Calls `go(address)` when the reader has entered one. */
export function prepareFetch(server, go) {
  $('fetch-block').hidden = !server.fetches;
  if (!server.fetches) return;
  const sites = server.fetch_hosts.length > 0 ? ` from ${server.fetch_hosts.join(', ')}` : '';
  text('address-help', `The server fetches videos${sites}. It keeps the address without what follows a question mark.`);
  const enter = () => {
    const address = $('address').value.trim();
    const complaint = complaintOf(address);
    showAddressMessage(complaint);
    if (complaint) $('address').focus();
    else go(address);
  };
  $('fetch').onclick = enter;
  $('address').onkeydown = (event) => {
    if (event.key !== 'Enter') return;
    // Otherwise Enter would send the form, which is for files.
    event.preventDefault();
    enter();
  };
}

/** Returns whether there is something in the field. */
export const enteredAddress = () => !$('fetch-block').hidden && $('address').value.trim() !== '';

export function showAddressMessage(words) {
  text('address-message', words);
  $('address').toggleAttribute('aria-invalid', Boolean(words));
}

export function clearAddress() {
  $('address').value = '';
  showAddressMessage('');
}

/** Returns the host of the address that a video was fetched from. */
export function hostOf(source) {
  try {
    return new URL(source).host;
  } catch {
    return 'the web';
  }
}

function complaintOf(address) {
  if (!address) return 'Enter the address of a video first.';
  return /^https?:\/\//i.test(address) ? '' : 'Enter the whole address, beginning with https://.';
}
