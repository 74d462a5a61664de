// Log-in at an identity provider at a browser: oidc-provider from npm is the provider. A
// second factor there counts by acr and amr, or is topped up with a one-time code here;
// roles come with the log-in; an invitation is taken up there; a stranger is not let in.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import { join } from 'node:path';
import Provider from 'oidc-provider';
import { oathtool, say, World } from './browser.mjs';

const PASSWORD = 'a river of small stones';
const GROUPS = { 'ana-there': ['doctors'], 'bill-there': ['office'], 'nora-there': ['ward'] };

const world = await World.make();
const tls = (name) => readFileSync(join(world.home, 'tls', name));
const ca = tls('ca.pem');

// The provider's page: a name, and how it was shown.
const page = `<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Clinic</title>
<style>input, button { min-height: 2rem; margin: .5rem }</style></head><body><main><h1>Clinic</h1>
<form method="post"><label for="login">Name at the clinic</label><input id="login" name="login">
<button name="how" value="one">One factor</button><button name="how" value="two">Two factors</button>
</form></main></body></html>`;

let provider;
const body = async (request) => {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return new URLSearchParams(Buffer.concat(pieces).toString());
};
const site = https.createServer({ cert: tls('server.pem'), key: tls('server.key') }, async (request, response) => {
  if (!request.url.startsWith('/interaction/')) return provider.callback()(request, response);
  if (request.method === 'GET') {
    response.setHeader('content-type', 'text/html');
    return response.end(page);
  }
  const form = await body(request);
  const two = form.get('how') === 'two';
  const login = {
    accountId: form.get('login'),
    acr: two ? 'urn:clinic:mfa' : 'urn:clinic:password',
    amr: two ? ['pwd', 'otp'] : ['pwd'],
  };
  return provider.interactionFinished(request, response, { login }, { mergeWithLastSubmission: false });
});
await new Promise((good) => site.listen(0, '127.0.0.1', good));
const issuer = `https://127.0.0.1:${site.address().port}`;

const get = (url) => new Promise((good, bad) => {
  https.get(url, { ca }, (response) => {
    const pieces = [];
    response.on('data', (piece) => pieces.push(piece));
    response.on('end', () => good(Buffer.concat(pieces).toString()));
  }).on('error', bad);
});

try {
  // A running server takes a provider up when it reads its configuration again.
  writeFileSync(join(world.home, 'phial.toml'), `
[sso.clinic]
label = "Clinic account"
issuer = "${issuer}"
client_id = "phial"
ca = "${join(world.home, 'tls', 'ca.pem')}"
acr = ["urn:clinic:mfa"]
amr = ["hwk"]
roles_claim = "groups"
[sso.clinic.roles]
doctors = "physician"
office = "billing"
ward = "nurse"
`);
  world.server.kill('SIGHUP');
  while (!(await get(`${world.origin}/login`)).includes('Clinic account')) {
    await new Promise((good) => { setTimeout(good, 50); });
  }
  say('a provider taken up without a restart');

  provider = new Provider(issuer, {
    clients: [{
      client_id: 'phial',
      redirect_uris: [`${world.origin}/login/sso/clinic/back`],
      grant_types: ['authorization_code'],
      response_types: ['code'],
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'RS256',
      jwks: JSON.parse(await get(`${world.origin}/oauth/jwks`)),
    }],
    acrValues: ['urn:clinic:mfa', 'urn:clinic:password'],
    claims: { openid: ['sub', 'acr', 'amr', 'auth_time', 'groups'] },
    conformIdTokenClaims: false,
    cookies: { keys: ['a key of this test'] },
    features: { devInteractions: { enabled: false } },
    findAccount: async (_, id) => ({ accountId: id, claims: async () => ({ sub: id, groups: GROUPS[id] ?? [] }) }),
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    loadExistingGrant: async (ctx) => {
      const grant = new provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope('openid');
      await grant.save();
      return grant;
    },
    pkce: { methods: ['S256'], required: () => true },
    renderError: (ctx, out) => { ctx.body = `${out.error}: ${out.error_description}`; },
  });

  /** From Phial's button through the provider, and back. */
  const through = async (visitor, words, login, how) => {
    visitor.may(issuer);
    await visitor.press(words);
    assert.equal(await visitor.heading(), 'Clinic');
    await visitor.page.type('#login', login);
    await Promise.all([visitor.page.waitForNavigation(), visitor.page.click(`button[value=${how}]`)]);
    await visitor.look();
  };

  world.run('user', 'add', 'ana', '--role', 'nurse', '--name', 'Ana Berg');
  world.run('user', 'link', 'ana', '--sso', 'clinic', '--subject', 'ana-there');
  const ana = await world.visitor();
  await ana.open('/login');
  await through(ana, 'Clinic account', 'ana-there', 'two');
  assert.match(await ana.text(), /Hello, Ana Berg/);
  assert.equal(world.events('login').at(-1).detail.factor, 'sso clinic mfa');
  assert.deepEqual(world.run('user', 'list').find((a) => a.id === 'ana').roles, ['physician']);
  say('two factors at the provider count; the role is the provider\'s');

  // A risky act takes the person at the provider once more. (Just now is recent enough.)
  await ana.open('/account/enrol');
  assert.equal(await ana.heading(), 'Add a second factor');
  await ana.press('Log out');

  world.run('user', 'add', 'bill', '--role', 'billing');
  const bill = await world.visitor();
  const key = await bill.acceptWithApp(world.invite('bill'), PASSWORD);
  await bill.press('Log out');
  world.run('user', 'link', 'bill', '--sso', 'clinic', '--subject', 'bill-there');
  await bill.open('/login');
  await through(bill, 'Clinic account', 'bill-there', 'one');
  assert.equal(bill.path, '/login/second');
  await bill.open('/account');
  assert.equal(bill.path, '/login/second');
  await bill.fill({ code: oathtool(key, 1) });
  await bill.press('Log in');
  assert.equal(bill.path, '/account');
  assert.equal(world.events('login').at(-1).detail.factor, 'sso clinic totp');
  say('one factor at the provider is topped up by a one-time code');

  world.run('user', 'add', 'nora', '--role', 'nurse', '--name', 'Nora Lind');
  const nora = await world.visitor();
  await nora.open(world.invite('nora'));
  await through(nora, 'Clinic account', 'nora-there', 'two');
  assert.match(await nora.text(), /Hello, Nora Lind/);
  say('an invitation is taken up at the provider');

  const stranger = await world.visitor();
  await stranger.open('/login');
  await through(stranger, 'Clinic account', 'ana', 'two');
  assert.equal(await stranger.heading(), 'You are not logged in');
  assert.match(world.events('login-failed').at(-1).detail.factor, /tied to no account/);
  await stranger.open('/account');
  assert.equal(stranger.path, '/login');

  world.run('user', 'suspend', 'nora');
  await nora.open('/account');
  assert.equal(nora.path, '/login');
  say('a stranger and a suspended account are not let in');
} finally {
  site.close();
  site.closeAllConnections();
  await world.end();
}
