// fhir-kit-client drives the server.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { Client } from 'fhir-kit-client';
import {
  BASE, DESK, PHYSICIAN, WRITER,
  claims, down, observation, patient, refused, say, transaction,
} from './world.mjs';

const as = (bearerToken) => new Client({ baseUrl: BASE, bearerToken });
const [writer, physician] = [as(WRITER), as(PHYSICIAN)];
const claimed = await claims('Observation');
const resourceType = 'Observation';

const statement = await physician.capabilityStatement();
assert.equal(statement.fhirVersion, '4.0.1');
say('CapabilityStatement');

const made = await writer.create({ resourceType: 'Patient', body: patient('Kit') });
assert.equal(Client.httpFor(made).response.status, 201);
assert.match(Client.httpFor(made).response.headers.get('location'), /\/_history\/1$/);
const read = await physician.read({ resourceType: 'Patient', id: made.id });
assert.equal(read.name[0].family, 'Kit');
assert.equal(Client.httpFor(read).response.headers.get('etag'), 'W/"1"');
say('create, read');

for (let n = 0; n < 25; n += 1) {
  await physician.create({ resourceType, body: observation(made.id, 60 + n, n + 1) });
}
const searchParams = { patient: made.id, _sort: '-date', _count: 10, _total: 'accurate' };
const values = [];
let first;
for (const options of [{}, { postSearch: true }]) {
  let page = await physician.search({ resourceType, searchParams, options });
  assert.equal(page.total, 25);
  first = page.entry[0].resource;
  for (let pages = 0; page; pages += 1) {
    assert.ok(pages < 3);
    values.push(...page.entry.map((e) => e.resource.valueQuantity.value));
    page = await physician.nextPage({ bundle: page });
  }
}
assert.deepEqual(values, [...down(84, 60), ...down(84, 60)]);
const compartment = { resourceType: 'Patient', id: made.id };
const within = await physician.compartmentSearch({
  resourceType, compartment, searchParams: { date: 'ge2024-01-20' },
});
assert.equal(within.total, 6);
const named = await writer.resourceSearch({
  resourceType: 'Patient', searchParams: { family: 'Kit', _id: made.id }, options: { postSearch: true },
});
assert.equal(named.entry[0].resource.id, made.id);
say('search: pages, POST, compartment');

const changed = { ...first, valueQuantity: { ...first.valueQuantity, value: 99 } };
const updated = await physician.update({ resourceType, id: first.id, body: changed });
assert.equal(updated.meta.versionId, '2');
const headers = { 'If-Match': 'W/"1"' };
const stale = await refused(() =>
  physician.update({ resourceType, id: first.id, body: changed, options: { headers } }));
assert.equal(stale.response.status, 412);
say('update, version conflict');

if (claimed.interactions.includes('patch')) {
  const jsonPatch = [{ op: 'replace', path: '/valueQuantity/value', value: 77 }];
  const patched = await physician.patch({ resourceType, id: first.id, jsonPatch });
  assert.equal(patched.valueQuantity.value, 77);
  say('patch');
}
if (claimed.conditionalUpdate) {
  const value = randomUUID();
  const body = { resourceType: 'Organization', name: 'Once', identifier: [{ system: 'urn:test', value }] };
  const upsert = () => writer.update({
    resourceType: 'Organization', searchParams: { name: value }, body: { ...body, name: value },
  });
  assert.equal((await upsert()).id, (await upsert()).id);
  say('conditional update');
}

const old = await physician.vread({ resourceType, id: first.id, version: '1' });
assert.equal(old.valueQuantity.value, 84);
const history = await physician.history({ resourceType, id: first.id });
assert.equal(history.type, 'history');
assert.equal(history.entry.at(-1).resource.meta.versionId, '1');
if (claimed.interactions.includes('history-type')) {
  const all = await physician.history({ resourceType });
  assert.equal(all.type, 'history');
}
say('vread, history');

const resolved = await physician.resolve({ reference: old.subject.reference });
assert.equal(resolved.id, made.id);
say('references');

const ifNone = { headers: { 'If-None-Exist': `identifier=urn:test|${randomUUID()}` } };
const value = ifNone.headers['If-None-Exist'].split('|')[1];
const body = { resourceType: 'Organization', name: 'Once', identifier: [{ system: 'urn:test', value }] };
const create = () => writer.create({ resourceType: 'Organization', body, options: ifNone });
assert.equal((await create()).id, (await create()).id);
say('conditional create');

await physician.delete({ resourceType, id: first.id });
const gone = await refused(() => physician.read({ resourceType, id: first.id }));
assert.equal(gone.response.status, 410);
say('delete');

const done = await writer.transaction({ body: transaction(`urn:uuid:${randomUUID()}`) });
assert.equal(done.type, 'transaction-response');
assert.deepEqual(done.entry.map((e) => e.response.status), ['201 Created', '201 Created']);
const batch = await physician.batch({
  body: {
    resourceType: 'Bundle',
    type: 'batch',
    entry: [
      { request: { method: 'GET', url: `Patient/${made.id}` } },
      { request: { method: 'GET', url: 'Patient/absent' } },
    ],
  },
});
assert.deepEqual(batch.entry.map((e) => e.response.status), ['200 OK', '404 Not Found']);
say('transaction, batch');

for (const name of ['validate'].filter((n) => claimed.operations.includes(n))) {
  const input = observation(made.id, 1);
  const outcome = await physician.operation({ name, resourceType, input });
  assert.equal(outcome.resourceType, 'OperationOutcome');
  say(`$${name}`);
}
if ((await claims('Patient')).operations.includes('everything')) {
  const all = await physician.operation({
    name: 'everything', resourceType: 'Patient', id: made.id, method: 'GET',
  });
  assert.ok(all.entry.some((e) => e.resource.resourceType === 'Observation'));
  say('$everything');
}

for (const [status, call] of [
  [401, () => as('nobody').read({ resourceType: 'Patient', id: made.id })],
  [403, () => as(DESK).create({ resourceType, body: observation(made.id, 1) })],
  [404, () => as(DESK).read({ resourceType, id: old.id })],
  [404, () => physician.read({ resourceType: 'Patient', id: 'absent' })],
  [400, () => writer.create({ resourceType: 'Patient', body: { resourceType: 'Patient', gender: 'x' } })],
]) {
  const error = await refused(call);
  assert.equal(error.response.status, status);
  assert.equal(error.response.data.resourceType, 'OperationOutcome');
}
say('refusals');
