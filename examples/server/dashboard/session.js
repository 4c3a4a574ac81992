// Signing in and out, if the server asks for an API key.

import { signIn, signOut } from './api.js';
import { $, announce, text } from './dom.js';
import { Problem } from './problem.js';
import { show } from './views.js';

/** Prepares the form and the button. `onChange()` is called after signing in or out. */
export function prepareSession(onChange) {
  $('sign-in-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    const field = $('api-key');
    const key = field.value.trim();
    if (!key) return wrong('Enter the API key.');
    try {
      await signIn(key);
    } catch (error) {
      const { status, message, advice } = Problem.from(error);
      return wrong(status === 401 ? 'This key is not valid. Check it, and try again.' : `${message} ${advice}`);
    }
    field.value = '';
    announce('Signed in.');
    onChange();
  });
  $('sign-out').addEventListener('click', async () => {
    try {
      await signOut();
    } catch (error) {
      announce(Problem.from(error).message);
    }
    onChange();
  });
}

export function openSignIn() {
  text('api-key-error', '');
  $('api-key').removeAttribute('aria-invalid');
  show('sign-in', 'Sign in');
  $('api-key').focus();
}

export function showSession(server) {
  $('nav-keys').hidden = !server.is_admin;
  $('nav-accuracy').hidden = server.api_key_required && !server.is_admin;
  $('sign-out').hidden = !(server.api_key_required && server.signed_in);
}

function wrong(words) {
  text('api-key-error', words);
  $('api-key').setAttribute('aria-invalid', 'true');
  $('api-key').focus();
}
