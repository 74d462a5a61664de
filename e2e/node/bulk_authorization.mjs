// The authorization part of the SMART Bulk Data test suite (smart-on-fhir/bdt), in terms of
// its published cases: each row has the suite's own number and name. What is asked is what
// that suite asks, of the running server, as a service does.
import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import { join } from 'node:path';
import { say, World } from './browser.mjs';

const world = await World.make();
const tls = (name) => readFileSync(join(world.home, 'tls', name));
const ca = tls('ca.pem');

const ask = (url, { method = 'GET', headers = {}, body } = {}) => new Promise((good, bad) => {
  const request = https.request(url, { method, headers, ca }, (response) => {
    const pieces = [];
    response.on('data', (piece) => pieces.push(piece));
    response.on('end', () => {
      const text = Buffer.concat(pieces).toString();
      let json;
      try { json = JSON.parse(text); } catch { /* none */ }
      good({ status: response.statusCode, headers: response.headers, text, json });
    });
  });
  request.on('error', bad);
  request.end(body);
});

/** A key pair as the suite makes one: RS384 or ES384. */
const key = (alg) => {
  const kid = randomUUID();
  const pair = alg === 'RS384'
    ? generateKeyPairSync('rsa', { modulusLength: 2048 })
    : generateKeyPairSync('ec', { namedCurve: 'P-384' });
  const jwk = { ...pair.publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig', key_ops: ['verify'] };
  const pem = pair.privateKey.export({ format: 'pem', type: 'pkcs8' });
  return { alg, kid, jwk, pem };
};

const b64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const jwt = (k, claims, header = {}) => {
  const message = `${b64({ alg: k.alg, typ: 'JWT', kid: k.kid, ...header })}.${b64(claims)}`;
  const signature = sign('sha384', Buffer.from(message), { key: createPrivateKey(k.pem), dsaEncoding: 'ieee-p1363' });
  return `${message}.${signature.toString('base64url')}`;
};

// Where the service's keys lie: a server of its own, which changes them.
const [rsa, ec, stranger] = [key('RS384'), key('ES384'), key('ES384')];
let published = [rsa.jwk, ec.jwk];
const site = https.createServer({ cert: tls('server.pem'), key: tls('server.key') }, (_, response) => {
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ keys: published }));
});
await new Promise((good) => site.listen(0, '127.0.0.1', good));
const at = `127.0.0.1:${site.address().port}`;

try {
  const config = `[oauth]\nhosts = ["${at}"]\nca = "${join(world.home, 'tls', 'ca.pem')}"\n`;
  writeFileSync(join(world.home, 'phial.toml'), config);
  const stopped = new Promise((good) => world.server.once('exit', good));
  world.server.kill('SIGTERM');
  await stopped;
  await world.serve();
  world.run('user', 'add', 'bulk', '--role', 'export-client');
  writeFileSync(join(world.dir, 'keys.json'), JSON.stringify({ keys: [rsa.jwk, ec.jwk] }));
  const scopes = 'system/*.cruds';
  world.run('client', 'add', 'bulk', '--kind', 'service', '--name', 'Bulk', '--account', 'bulk',
    '--jwks', join(world.dir, 'keys.json'), '--scope', scopes);
  world.run('client', 'add', 'elsewhere', '--kind', 'service', '--name', 'Bulk', '--account', 'bulk',
    '--jwks-uri', `https://${at}/jwks`, '--scope', scopes);

  const { json: said } = await ask(`${world.base}/.well-known/smart-configuration`);
  const endpoint = said.token_endpoint;
  const assertion = (more = {}, header = {}, k = ec) => {
    const claims = {
      iss: 'bulk', sub: 'bulk', aud: endpoint, exp: Math.floor(Date.now() / 1000) + 240, jti: randomUUID(), ...more,
    };
    return jwt(k, claims, header);
  };
  const JWT = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
  const form = (more = {}) => {
    const all = {
      grant_type: 'client_credentials', client_assertion_type: JWT, scope: 'system/*.read',
      client_assertion: assertion(), ...more,
    };
    for (const name of Object.keys(all)) if (all[name] === undefined) delete all[name];
    return ask(endpoint, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
      body: new URLSearchParams(all).toString(),
    });
  };
  const kick = (path, token) => ask(`${world.base}${path}`, {
    headers: {
      prefer: 'respond-async', accept: 'application/fhir+json', ...(token ? { authorization: `Bearer ${token}` } : {}),
    },
  });
  const unauthorized = ({ status, json }) => {
    assert.equal(status, 401);
    assert.equal(json.resourceType, 'OperationOutcome');
  };
  const between = (low, high, error) => ({ status, json, text }) => {
    assert.ok(status >= low && status <= high, `${status}: ${text}`);
    if (error) assert.equal(json.error, error, text);
  };
  const given = ({ status, json, text }) => {
    assert.equal(status, 200, text);
    assert.ok(json.access_token && json.expires_in <= 300 && json.token_type === 'Bearer', text);
  };

  const kickOffs = [['system-level', '/$export'], ['patient-level', '/Patient/$export'], ['group-level', '/Group/g/$export']]
    .flatMap(([name, path], n) => [
      [`Auth-01.${n}.0`, `${name} export requires authorization header`, () => kick(path), unauthorized],
      [`Auth-01.${n}.1`, `${name} export rejects expired token`,
        () => kick(path, assertion({ exp: Math.floor(Date.now() / 1000) - 300 })), unauthorized],
      [`Auth-01.${n}.2`, `${name} export rejects invalid token`, () => kick(path, `${assertion()}x`), unauthorized],
    ]);
  const cases = [
    ...kickOffs,
    ['Auth-02', 'Requires "application/x-www-form-urlencoded" POSTs', () => ask(endpoint, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}',
    }), between(400, 499, 'invalid_request')],
    ['Auth-03', 'The "grant_type" parameter must be present', () => form({ grant_type: undefined }), between(400, 401)],
    ['Auth-04', 'The "grant_type" must equal "client_credentials"', () => form({ grant_type: 'test-grant_type-value' }),
      between(400, 401, 'unsupported_grant_type')],
    ['Auth-05', 'The "client_assertion_type" must be present', () => form({ client_assertion_type: undefined }),
      between(400, 401, 'invalid_client')],
    ['Auth-06', 'The "client_assertion_type" must be jwt-bearer', () => form({ client_assertion_type: 'test-value' }),
      between(400, 401, 'invalid_client')],
    ['Auth-07', 'The client_assertion parameter must be a token', () => form({ client_assertion: 'x.y.z' }),
      between(400, 401, 'invalid_client')],
    ['Auth-08', 'Validates authenticationToken.aud', () => form({ client_assertion: assertion({ aud: 'test-bad-aud-value' }) }),
      between(400, 401, 'invalid_client')],
    ['Auth-09', 'Validates authenticationToken.iss', () => form({ client_assertion: assertion({ iss: 'test-iss-value' }) }),
      between(400, 401, 'invalid_client')],
    ['Auth-10', 'Only accept registered client IDs', () => form({
      client_assertion: assertion({ iss: 'test-bad-client-id', sub: 'test-bad-client-id' }),
    }), between(400, 401, 'invalid_client')],
    ['Auth-11', 'Requires scope', () => form({ scope: undefined }), between(400, 403, 'invalid_scope')],
    ['Auth-12', 'Rejects empty scope', () => form({ scope: '' }), between(400, 403, 'invalid_scope')],
    ['Auth-13', 'Validates scopes', () => form({ scope: 'launch fhirUser system/Patient.read' }),
      between(400, 403, 'invalid_scope')],
    ['Auth-14', 'Supports wildcard action scopes', () => form({ scope: 'system/Patient.*' }), given],
    ['Auth-15', 'Rejects unknown action scopes', () => form({ scope: 'system/Patient.unknownAction' }),
      between(400, 403, 'invalid_scope')],
    ['Auth-16', 'Supports wildcard resource scopes', () => form({ scope: 'system/*.read' }), given],
    ['Auth-17', 'Rejects unknown resource scopes', () => form({ scope: 'system/UnknownResource.read' }),
      between(400, 403, 'invalid_scope')],
    ['Auth-18', 'Validates the jku token header', () => form({ client_assertion: assertion({}, { jku: 'test-bad-jku' }) }),
      between(400, 401, 'invalid_client')],
    ['Auth-19', 'Validates the token signature', () => form({
      client_assertion: assertion({}, { kid: ec.kid }, stranger),
    }), between(400, 401, 'invalid_client')],
  ];
  for (const [number, name, call, check] of cases) {
    try {
      check(await call());
    } catch (error) {
      error.message = `${number} ${name}: ${error.message}`;
      throw error;
    }
  }
  say(`${cases.length} cases from Auth-01 to Auth-19`);

  // Keys at an address, and keys that are changed there.
  const elsewhere = (k) => form({
    client_assertion: assertion({ iss: 'elsewhere', sub: 'elsewhere' }, { jku: `https://${at}/jwks` }, k),
  });
  given(await elsewhere(ec));
  say('Auth-20 Authorization using JWKS URL and ES384 keys');
  given(await elsewhere(rsa));
  say('Auth-21 Authorization using JWKS URL and RS384 keys');
  const fresh = key('ES384');
  published = [fresh.jwk];
  const stop = new Promise((good) => world.server.once('exit', good));
  world.server.kill('SIGTERM');
  await stop;
  await world.serve();
  assert.equal((await ask(`${world.base}/.well-known/smart-configuration`)).status, 200);
  const now = (await ask(`${world.base}/.well-known/smart-configuration`)).json.token_endpoint;
  const renewed = await ask(now, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({
      grant_type: 'client_credentials', client_assertion_type: JWT, scope: 'system/*.read',
      client_assertion: assertion({ iss: 'elsewhere', sub: 'elsewhere', aud: now }, {}, fresh),
    }).toString(),
  });
  given(renewed);

  // Beyond that suite: what SMART Backend Services says of assertions and of a kick-off.
  const soon = Math.floor(Date.now() / 1000);
  const form2 = (client_assertion, scope = 'system/*.read') => ask(now, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({
      grant_type: 'client_credentials', client_assertion_type: JWT, scope, client_assertion,
    }).toString(),
  });
  const mine = (more = {}, header = {}) => assertion({ aud: now, ...more }, header);
  for (const [name, token] of [
    ['expired', mine({ exp: soon - 60 })],
    ['exp more than five minutes away', mine({ exp: soon + 3600 })],
    ['no jti', mine({ jti: undefined })],
    ['alg none', `${b64({ alg: 'none', kid: ec.kid })}.${b64({ iss: 'bulk', sub: 'bulk', aud: now })}.`],
    ['unknown kid', mine({}, { kid: 'unknown' })],
    ['sub is another', mine({ sub: 'elsewhere' })],
  ]) {
    const { status, json } = await form2(token);
    assert.deepEqual([status, json.error], [401, 'invalid_client'], name);
  }
  const once = mine();
  given(await form2(once));
  assert.equal((await form2(once)).status, 401, 'a replayed jti');
  const narrow = (await form2(mine(), 'system/Patient.r')).json.access_token;
  assert.equal((await kick('/$export', narrow)).status, 403, 'without the right scope');
  const wide = (await form2(mine(), 'system/*.rs')).json.access_token;
  const started = await kick('/$export', wide);
  assert.equal(started.status, 202, started.text);
  const listed = ['token_endpoint', 'grant_types_supported', 'scopes_supported', 'capabilities',
    'token_endpoint_auth_methods_supported', 'token_endpoint_auth_signing_alg_values_supported'];
  for (const name of listed) assert.ok(said[name], name);
  assert.ok(said.token_endpoint_auth_methods_supported.includes('private_key_jwt'));
  assert.deepEqual(said.token_endpoint_auth_signing_alg_values_supported, ['RS384', 'ES384']);
  assert.ok(said.capabilities.includes('client-confidential-asymmetric'));
  assert.equal(said.registration_endpoint, undefined);
  const refused = world.events('client-refused');
  // Those of the token endpoint: 16 of the suite's cases, six assertions, the replay.
  assert.equal(refused.length, 23);
  assert.equal(world.events('token-refused').length, kickOffs.length);
  say('assertions, scopes and discovery of SMART Backend Services; each refusal in the log');
} finally {
  site.close();
  site.closeAllConnections();
  await world.end();
}
