// Apps at a browser: SMART's own fhirclient launches from a page of its own, and
// openid-client completes code and PKCE, refresh and revocation. A patient chosen, a word
// given, a scope left out, a word taken back.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import https from 'node:https';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as oidc from 'openid-client';
import { say, World } from './browser.mjs';

const PASSWORD = 'a river of small stones';
const require = createRequire(import.meta.url);
const script = readFileSync(join(dirname(require.resolve('fhirclient/package.json')), 'build/fhir-client.js'));

// An app of one page, built with SMART's client, on a server of its own.
const page = (body) => `<!doctype html><title>Growth chart</title><script src="/fhir-client.js"></script>${body}`;
const app = createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  response.setHeader('content-type', 'text/html');
  if (url.pathname === '/fhir-client.js') {
    response.setHeader('content-type', 'text/javascript');
    response.end(script);
  } else if (url.pathname === '/callback') {
    response.end('<!doctype html><title>Back</title>');
  } else if (url.pathname === '/launch') {
    const iss = JSON.stringify(url.searchParams.get('iss'));
    response.end(page(`<script>FHIR.oauth2.authorize({ iss: ${iss}, clientId: 'growth',
      scope: 'launch/patient openid fhirUser offline_access patient/Patient.rs patient/Observation.rs',
      redirectUri: '/ready', pkceMode: 'required' });</script>`));
  } else {
    response.end(page(`<p id="out"></p><script>
      FHIR.oauth2.ready().then(async (client) => {
        const patient = await client.patient.read();
        const found = await client.request('Observation?patient=' + patient.id).then(
          (b) => 'observations ' + b.total, (e) => 'refused');
        await client.refresh();
        const again = await client.patient.read();
        document.querySelector('#out').innerText = patient.name[0].family + ', ' + found + ', ' + again.id + ', ' + client.user.id;
      }).catch((e) => { document.querySelector('#out').innerText = 'failed: ' + e; });</script>`));
  }
});
await new Promise((good) => app.listen(0, '127.0.0.1', good));
const origin = `http://localhost:${app.address().port}`;

const world = new World();
world.dir = mkdtempSync(join(tmpdir(), 'phial-apps-'));
world.home = join(world.dir, 'home');
world.run('init');
const settings = join(world.home, 'phial.toml');
const cors = `[http]\ncors_origins = ["${origin}"]\ncors_rationale = "the app is a page"\n`;
writeFileSync(settings, readFileSync(settings, 'utf8').replace('[http]\n', cors));
await world.serve();
const ca = readFileSync(join(world.home, 'tls/ca.pem'));

/** fetch that trusts this home's CA. */
const ours = (url, init = {}) => new Promise((good, bad) => {
  const headers = Object.fromEntries(new Headers(init.headers));
  const request = https.request(url, { method: init.method ?? 'GET', headers, ca }, (response) => {
    const all = [];
    response.on('data', (piece) => all.push(piece));
    response.on('end', () => {
      const body = [204, 304].includes(response.statusCode) ? null : Buffer.concat(all);
      good(new Response(body, { status: response.statusCode, headers: response.headers }));
    });
  });
  request.on('error', bad);
  request.end(init.body === undefined || init.body === null ? undefined : String(init.body));
});

try {
  world.run('user', 'add', 'ivo', '--role', 'import-client');
  const writer = world.run('token', '--user', 'ivo').token;
  const put = (resource) => ours(`${world.base}/${resource.resourceType}/${resource.id}`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${writer}`, 'content-type': 'application/fhir+json' },
    body: JSON.stringify(resource),
  });
  for (const [id, family] of [['p1', 'Stone'], ['p2', 'River']]) {
    const made = await put({ resourceType: 'Patient', id, name: [{ family }], birthDate: '1970-01-01' });
    assert.equal(made.status, 201);
  }
  world.run('user', 'add', 'ana', '--role', 'physician');
  world.run('client', 'add', 'growth', '--kind', 'public', '--name', 'Growth chart',
    '--redirect-uri', `${origin}/ready`,
    '--scope', 'launch/patient openid fhirUser offline_access patient/*.rs');

  const ana = await world.visitor();
  await ana.acceptWithApp(world.invite('ana'), PASSWORD);
  ana.may(origin);
  const iss = `${world.origin}/fhir`;
  await ana.page.goto(`${origin}/launch?iss=${encodeURIComponent(iss)}`);
  await ana.page.waitForSelector('input[name=name]');
  await ana.look();
  assert.equal(await ana.heading(), 'Choose a patient');
  await ana.fill({ name: 'Stone' });
  await ana.press('Find');
  await ana.page.click('input[name=patient]');
  await ana.press('Go on with this patient');
  assert.match(await ana.text(), /Growth chart asks to use your account/);
  assert.match(await ana.text(), /laboratory results/);
  await ana.page.click('input[value="patient/Observation.rs"]');
  await ana.page.click('button[value=allow]');
  await ana.page.waitForFunction(() => document.querySelector('#out')?.innerText);
  const out = await ana.page.$eval('#out', (e) => e.innerText);
  assert.match(out, /^Stone, (observations 0|refused), p1, /);
  say(`fhirclient, standalone: ${out}`);

  // The word is taken back: access ends at once.
  const issued = world.events('token-issued').at(-1);
  assert.equal(issued.detail.client, 'growth');
  await ana.open('/account/apps');
  assert.match(await ana.text(), /Growth chart/);
  await ana.press('End the access of Growth chart');
  assert.match(await ana.text(), /access has ended/);
  await ana.page.goto(`${origin}/ready`);
  await ana.page.waitForFunction(() => document.querySelector('#out')?.innerText);
  assert.match(await ana.page.$eval('#out', (e) => e.innerText), /^failed/);
  say('a word taken back ends the access');

  // openid-client: discovery, code with PKCE, refresh, revocation.
  const { secret } = world.run('client', 'add', 'server', '--kind', 'confidential', '--name', 'Server',
    '--redirect-uri', `${origin}/callback`, '--secret',
    '--scope', 'openid fhirUser offline_access user/Patient.rs');
  const options = { [oidc.customFetch]: ours };
  const config = await oidc.discovery(new URL(world.origin), 'server', secret, undefined, options);
  config[oidc.customFetch] = ours;
  const verifier = oidc.randomPKCECodeVerifier();
  const state = oidc.randomState();
  const nonce = oidc.randomNonce();
  const to = oidc.buildAuthorizationUrl(config, {
    redirect_uri: `${origin}/callback`,
    scope: 'openid fhirUser offline_access user/Patient.rs',
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256', state, nonce, aud: iss,
  });
  await ana.open(to.href);
  await ana.page.click('button[value=allow]');
  await ana.page.waitForFunction(() => location.pathname === '/callback');
  const tokens = await oidc.authorizationCodeGrant(config, new URL(ana.page.url()), {
    pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true,
  });
  assert.equal(tokens.claims().sub, 'ana');
  const read = (token) => ours(`${world.base}/Patient/p2`, { headers: { authorization: `Bearer ${token}` } });
  assert.equal((await read(tokens.access_token)).status, 200);
  const next = await oidc.refreshTokenGrant(config, tokens.refresh_token);
  assert.equal((await read(next.access_token)).status, 200);
  const said = await oidc.tokenIntrospection(config, next.access_token);
  assert.equal(said.active, true);
  const user = await oidc.fetchUserInfo(config, next.access_token, 'ana');
  assert.equal(user.sub, 'ana');
  await oidc.tokenRevocation(config, next.refresh_token);
  assert.equal((await read(next.access_token)).status, 401);
  await assert.rejects(oidc.refreshTokenGrant(config, tokens.refresh_token));
  say('openid-client: discovery, code, PKCE, refresh, userinfo, introspection, revocation');
} finally {
  app.close();
  await world.end();
}
