// Breaking the glass at a browser, from the request to the signed review: by keyboard, with
// a fresh proof of who it is, an alert by mail that says nothing of a patient, an early end,
// and a privacy officer who is told, looks, and signs.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import { say, World } from './browser.mjs';

const PASSWORD = 'a river of small stones';
const ACT = 'http://terminology.hl7.org/CodeSystem/v3-ActCode';
const WHY = 'found unconscious in the hall';

/** A mail server that keeps what it is sent, over TLS from the first byte. */
function mailServer(home) {
  const mails = [];
  const tls = { cert: readFileSync(join(home, 'tls/server.pem')), key: readFileSync(join(home, 'tls/server.key')) };
  const server = createServer(tls, (socket) => {
    let waiting = '';
    let mail = null;
    const answer = (line) => socket.write(`${line}\r\n`);
    socket.on('error', () => {});
    socket.on('data', (piece) => {
      waiting += piece;
      for (let end = waiting.indexOf('\r\n'); end >= 0; end = waiting.indexOf('\r\n')) {
        const line = waiting.slice(0, end);
        waiting = waiting.slice(end + 2);
        if (mail !== null) {
          if (line === '.') {
            mails.push(mail);
            mail = null;
            answer('250 kept');
          } else {
            mail += `${line}\n`;
          }
        } else if (line === 'DATA') {
          mail = '';
          answer('354 go on');
        } else {
          answer(line === 'QUIT' ? '221 bye' : '250 good');
          if (line === 'QUIT') socket.end();
        }
      }
    });
    answer('220 sink');
  });
  return new Promise((good) => server.listen(0, '127.0.0.1', () => good({ server, mails })));
}

const world = await World.make();
// The mail server has this home's certificate, which is there once it was served.
const mail = await mailServer(world.home);
await world.stop();
writeFileSync(join(world.home, 'phial.toml'), `[mail]
server = "127.0.0.1:${mail.server.address().port}"
tls = "implicit"
ca = "tls/ca.pem"
from = "phial@clinic.example"
to = ["petra@clinic.example"]
`);
await world.serve();
try {
  for (const [name, role] of [['ivo', 'import-client'], ['ana', 'physician'], ['petra', 'privacy-officer']]) {
    world.run('user', 'add', name, '--role', role);
  }
  const writer = world.run('token', '--user', 'ivo').token;
  const records = [
    { resourceType: 'Patient', id: 'p1', name: [{ family: 'Zephyrhaugen', given: ['Balthazar'] }], birthDate: '1955-09-09',
      identifier: [{ system: 'urn:mrn', value: 'MRN-7Q0035' }] },
    { resourceType: 'Condition', id: 'c1', subject: { reference: 'Patient/p1' },
      meta: { security: [{ system: ACT, code: 'HIV' }] },
      code: { coding: [{ system: 'http://snomed.info/sct', code: '86406008' }] } },
  ];
  for (const record of records) {
    const made = await world.ask(writer, 'PUT', `${record.resourceType}/${record.id}`, record);
    assert.equal(made.status, 201, await made.text());
  }
  const token = world.run('token', '--user', 'ana').token;
  const read = async () => (await world.ask(token, 'GET', 'Condition/c1')).status;
  assert.equal(await read(), 404, 'no care relationship');

  const petra = await world.visitor();
  await petra.acceptWithPasskey(world.invite('petra'), PASSWORD);
  assert.equal(await petra.page.$('.notice'), null);

  // A fresh proof, then the form, all by keyboard.
  const ana = await world.visitor();
  await ana.acceptWithApp(world.invite('ana'), PASSWORD);
  await ana.open('/');
  await ana.key('Emergency access');
  assert.match(await ana.text(), /You have none at this moment/);
  await ana.open('/login/again?next=/break-glass/new');
  assert.equal(await ana.heading(), 'Is it still you?');
  await ana.type('password', PASSWORD);
  await ana.key('Continue');
  assert.equal(await ana.heading(), 'Break the glass');
  assert.match(await ana.text(), /Privacy officers are told at once/);
  await ana.type('patient', 'MRN-0000000');
  await ana.choose('reason');
  await ana.type('text', WHY);
  await ana.key('Break the glass');
  assert.match(await ana.text(), /There is no such patient/);
  await ana.look('refused');
  assert.equal(world.run('alert', 'list', '--as', 'petra').length, 0);
  await ana.type('patient', 'MRN-7Q0035');
  await ana.key('Break the glass');
  assert.equal(await ana.heading(), 'Emergency access');
  assert.match(await ana.text(), /Is this the right patient\?\s+Zephyrhaugen, Balthazar, 1955-09-09/);
  await ana.look('opened');
  assert.ok(world.events('reauthenticated').some((e) => e.who.user === 'ana'));
  assert.equal(await read(), 200);
  say('asked for by keyboard, with a fresh proof; the record is read');

  // The alert: by mail, and on every page of the privacy officer.
  for (let n = 0; n < 300 && mail.mails.length === 0; n += 1) await new Promise((good) => setTimeout(good, 100));
  assert.equal(mail.mails.length, 1);
  assert.match(mail.mails[0], /ana has broken the glass/);
  await petra.open('/account');
  assert.match(await petra.text(), /1 alert has not been seen/);
  await petra.look('told');
  await petra.key('See the reviews');
  const list = await petra.text();
  for (const needle of ['Zephyrhaugen', 'Balthazar', 'MRN-7Q0035', 'Patient/p1', 'p1/', '1955', WHY, 'unconscious']) {
    assert.ok(!mail.mails[0].includes(needle), `the mail says ${needle}`);
    assert.ok(!list.includes(needle), `the list says ${needle}`);
  }
  await petra.key('I have seen it: ana, break-glass');
  assert.match(await petra.text(), /written down that you have seen the alert/);
  assert.equal(await petra.page.$('.notice'), null);
  const review = await petra.page.$eval('tbody th a', (a) => a.getAttribute('href'));
  await petra.open(review);
  assert.match(await petra.text(), /It still holds/);
  await petra.look('holds');
  say('the alert arrives by mail and on the pages, without a word about the patient');

  // Ended early: gone at once.
  await ana.open('/break-glass');
  assert.doesNotMatch(await ana.text(), /Zephyrhaugen/);
  await ana.key('End it now: the access to Patient/p1');
  assert.match(await ana.text(), /Your emergency access has ended/);
  assert.equal(await read(), 404);
  await ana.open('/break-glass/reviews');
  assert.equal(await ana.heading(), 'Not for your role');
  say('ended early, and gone at once');

  // Looked at and signed, with a fresh proof by passkey.
  await petra.open(`/login/again?next=${review}`);
  await petra.press('Use a passkey');
  const page = await petra.text();
  assert.match(page, /Patient\/p1/);
  assert.match(page, new RegExp(WHY));
  assert.match(page, /Accesses\s+2 \(read 2\)/);
  await petra.look('to be signed');
  await petra.choose('finding');
  await petra.type('text', 'the chart shows the emergency');
  await petra.key('Sign the review');
  assert.match(await petra.text(), /The review is signed/);
  assert.match(await petra.text(), /Nothing waits/);
  await petra.open(review);
  assert.match(await petra.text(), /the chart shows the emergency/);
  assert.equal(await petra.page.$('textarea'), null);
  await petra.look('signed');
  const [grant] = world.run('break-glass', 'list', '--as', 'petra');
  assert.equal(grant.state, 'reviewed');
  assert.equal(grant.review.by, 'petra');
  assert.equal(mail.mails.length, 1);
  say('reviewed by the privacy officer, and signed');
} finally {
  mail.server.close();
  await world.end();
}
