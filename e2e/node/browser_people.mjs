// People at a browser: invitation, password, passkey; password and one-time code; idle
// log-off; and what an administrator does.
import assert from 'node:assert/strict';
import { oathtool, say, World } from './browser.mjs';

const PASSWORD = 'a river of small stones';
const world = await World.make('[session]\nidle_minutes = 1\n');
try {
  world.run('user', 'add', 'ana', '--role', 'physician', '--name', 'Ana Berg');
  world.run('user', 'add', 'bill', '--role', 'billing');

  // Invitation, password, passkey; out; and in again by the passkey alone.
  const ana = await world.visitor();
  const path = world.invite('ana');
  await ana.authenticator();
  await ana.open(path);
  await ana.fill({ password: 'password1234', repeat: 'password1234' });
  await ana.press('Continue');
  assert.match(await ana.text(), /easily guessed/);
  await ana.fill({ password: PASSWORD, repeat: PASSWORD });
  await ana.press('Continue');
  assert.equal(await ana.heading(), 'Add a second factor');
  await ana.press('Add a passkey');
  assert.equal((await ana.page.$$('.codes li')).length, 10);
  await ana.press('I have kept them');
  assert.match(await ana.text(), /Hello, Ana Berg/);
  await ana.press('Log out');
  assert.equal(ana.path, '/login');
  await ana.press('Log in with a passkey');
  assert.match(await ana.text(), /Hello, Ana Berg/);
  const login = world.events('login').at(-1);
  assert.equal(login.detail.factor, 'passkey');
  say('invitation, password, passkey, log-in by passkey');

  // Another browser without the passkey is not let in by the password alone.
  const thief = await world.visitor();
  await thief.open('/login');
  await thief.fill({ user: 'ana', password: PASSWORD });
  await thief.press('Continue');
  assert.equal(thief.path, '/login/second');
  await thief.open('/account');
  assert.equal(thief.path, '/login/second');
  // An authenticator that does not know this site says no, and the page says so.
  await thief.authenticator();
  await thief.page.click('.passkey button');
  await thief.page.waitForSelector('.late:not([hidden])');
  say('a password alone opens nothing');

  // Password and a code of oathtool.
  const bill = await world.visitor();
  const key = await bill.acceptWithApp(world.invite('bill'), PASSWORD);
  await bill.press('Log out');
  await bill.fill({ user: 'bill', password: PASSWORD });
  await bill.press('Continue');
  await bill.fill({ code: '000000' });
  await bill.press('Log in');
  assert.match(await bill.text(), /This code is not right/);
  await bill.fill({ code: oathtool(key, 1) });
  await bill.press('Log in');
  assert.match(await bill.text(), /Hello, bill/);
  say('log-in with password and oathtool');

  // By keyboard alone: the skip link comes first, and all is within reach.
  await bill.press('Log out');
  await bill.open('/login');
  const first = await bill.page.evaluate(() => {
    const all = [...document.querySelectorAll('a, button, input:not([type=hidden])')];
    all[0].focus();
    return all[0].innerText;
  });
  assert.equal(first, 'Skip to the content');
  const names = [];
  for (let n = 0; n < 12; n += 1) {
    await bill.page.keyboard.press('Tab');
    names.push(await bill.page.evaluate(() => document.activeElement.id || document.activeElement.innerText));
  }
  for (const wanted of ['user', 'password', 'Continue', 'Log in with a passkey']) {
    assert.ok(names.includes(wanted), `${wanted} is not reached by Tab: ${names}`);
  }
  say('within reach of the keyboard');

  // An administrator: invites, changes, reviews, suspends.
  const admin = await world.visitor();
  await admin.acceptWithPasskey(new URL(world.first).pathname, PASSWORD);
  await admin.press('People');
  await admin.fill({ user: 'nora', name: 'Nora Lind' });
  await admin.page.click('input[name=role][value=nurse]');
  await admin.press('Add and make an invitation');
  const link = await admin.page.$eval('#link', (e) => e.innerText);
  const nora = await world.visitor();
  await nora.acceptWithPasskey(link, PASSWORD);
  await nora.open('/admin/people');
  assert.equal(await nora.heading(), 'Not for your role');
  await nora.open('/account');
  await admin.open('/admin/review');
  await admin.press('Sign that it is right: nora');
  assert.match(await admin.text(), /It is signed/);
  await admin.open('/admin/people/nora');
  await admin.press('Suspend, and end all log-ins at once');
  await nora.open('/account');
  assert.equal(nora.path, '/login');
  assert.equal(world.events('access-reviewed').length, 1);
  say('invited, reviewed, suspended at once');

  // Idle: the page goes by itself once the session is over.
  await ana.open('/account');
  const began = Date.now();
  await ana.page.waitForFunction(() => location.pathname === '/login/ended', { timeout: 120_000, polling: 1000 });
  assert.ok(Date.now() - began >= 59_000, 'not before the session is idle for a minute');
  assert.match(await ana.text(), /You were logged out/);
  await ana.look();
  await ana.open('/account');
  assert.equal(ana.path, '/login');
  say('logged off after a minute without use');
} finally {
  await world.end();
}
