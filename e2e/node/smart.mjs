// SMART's fhirclient drives the server.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import smart from 'fhirclient';
import {
  BASE, DESK, PHYSICIAN, WRITER,
  claims, down, observation, patient, refused, say, transaction,
} from './world.mjs';

// What is left of a launch once it is over: the server, and a token.
function as(access_token, context = {}) {
  const request = { url: '/', headers: { host: 'app.example' }, socket: { encrypted: true } };
  const storage = { get: async () => undefined, set: async (_, v) => v, unset: async () => true };
  return smart(request, {}, storage).client({
    serverUrl: BASE, tokenResponse: { access_token, token_type: 'Bearer', ...context },
  });
}

const [writer, physician] = [as(WRITER), as(PHYSICIAN)];
const claimed = await claims('Observation');

assert.equal(await physician.getFhirVersion(), '4.0.1');
assert.equal(await physician.getFhirRelease(), 4);
say('CapabilityStatement');

const made = await writer.create(patient('Smart'));
assert.equal(made.meta.versionId, '1');
const launched = as(PHYSICIAN, { patient: made.id });
assert.equal((await launched.patient.read()).name[0].family, 'Smart');
say('create, read in the context of a patient');

for (let n = 0; n < 25; n += 1) {
  await physician.create(observation(made.id, 60 + n, n + 1));
}
const query = `Observation?patient=${made.id}&_sort=-date&_count=10`;
const all = await physician.request(query, { pageLimit: 0, flat: true });
assert.deepEqual(all.map((o) => o.valueQuantity.value), down(84, 60));
// It finds in the CapabilityStatement by which parameter a type names its patient.
const mine = await launched.patient.request('Observation', { pageLimit: 0, flat: true });
assert.equal(mine.length, 25);
const seen = [];
for await (const resource of physician.resources(query)) seen.push(resource.id);
assert.equal(new Set(seen).size, 25);
const resolved = await physician.request(`Observation/${all[0].id}`, {
  resolveReferences: ['subject'], graph: true,
});
assert.equal(resolved.subject.id, made.id);
assert.equal(physician.byCodes(all, 'code')('8867-4').length, 25);
say('search: pages, patient, references');

const one = all[0];
const updated = await physician.update({ ...one, valueQuantity: { ...one.valueQuantity, value: 99 } });
assert.equal(updated.meta.versionId, '2');
const history = await physician.request(`Observation/${one.id}/_history`);
assert.deepEqual(history.entry.map((e) => e.resource.meta.versionId), ['2', '1']);
const old = await physician.request(`Observation/${one.id}/_history/1`);
assert.equal(old.valueQuantity.value, 84);
say('update, history, vread');

if (claimed.interactions.includes('patch')) {
  const patched = await physician.patch(`Observation/${one.id}`, [
    { op: 'replace', path: '/valueQuantity/value', value: 77 },
  ]);
  assert.equal(patched.valueQuantity.value, 77);
  say('patch');
}

const value = randomUUID();
const organization = { resourceType: 'Organization', name: 'Once', identifier: [{ system: 'urn:test', value }] };
const headers = { 'if-none-exist': `identifier=urn:test|${value}`, 'content-type': 'application/fhir+json' };
const create = () => writer.create(organization, { headers });
assert.equal((await create()).id, (await create()).id);
say('conditional create');

await physician.delete(`Observation/${one.id}`);
assert.equal((await refused(() => physician.request(`Observation/${one.id}`))).statusCode, 410);
say('delete');

const done = await writer.request({
  url: BASE,
  method: 'POST',
  headers: { 'content-type': 'application/fhir+json' },
  body: JSON.stringify(transaction(`urn:uuid:${randomUUID()}`)),
});
assert.deepEqual(done.entry.map((e) => e.response.status), ['201 Created', '201 Created']);
say('transaction');

if ((await claims('Patient')).operations.includes('everything')) {
  const everything = await physician.request(`Patient/${made.id}/$everything`);
  assert.ok(everything.entry.some((e) => e.resource.resourceType === 'Observation'));
  say('$everything');
}

for (const [status, call] of [
  [401, () => as('nobody').request(`Patient/${made.id}`)],
  [403, () => as(DESK).create(observation(made.id, 1))],
  [404, () => as(DESK).request(`Observation/${all[1].id}`)],
  [404, () => physician.request('Patient/absent')],
]) {
  assert.equal((await refused(call)).statusCode, status);
}
say('refusals');
