// @medplum/core drives the server.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { ClientStorage, MedplumClient, MemoryStorage } from '@medplum/core';
import {
  BASE, DESK, PHYSICIAN, WRITER,
  claims, down, observation, patient, refused, say, transaction,
} from './world.mjs';

function as(accessToken) {
  const [, baseUrl, fhirUrlPath] = BASE.match(/^(https:\/\/[^/]+\/)(.*)$/);
  const storage = new ClientStorage(new MemoryStorage());
  return new MedplumClient({ baseUrl, fhirUrlPath, accessToken, storage, fetch, cacheTime: 0 });
}

const [writer, physician] = [as(WRITER), as(PHYSICIAN)];
const claimed = await claims('Observation');

const made = await writer.createResource(patient('Medplum'));
assert.equal(made.meta.versionId, '1');
const read = await physician.readResource('Patient', made.id);
assert.equal(read.name[0].family, 'Medplum');
assert.equal((await physician.readReference({ reference: `Patient/${made.id}` })).id, made.id);
say('create, read, reference');

for (let n = 0; n < 25; n += 1) {
  await physician.createResource(observation(made.id, 60 + n, n + 1));
}
const query = { subject: `Patient/${made.id}`, _sort: '-date', _count: '10' };
const values = [];
for await (const page of physician.searchResourcePages('Observation', query)) {
  values.push(...page.map((o) => o.valueQuantity.value));
}
assert.deepEqual(values, down(84, 60));
const bundle = await physician.search('Observation', { ...query, date: 'ge2024-01-20' });
assert.equal(bundle.total, 6);
const one = await physician.searchOne('Observation', { ...query, _count: '1' });
assert.equal(one.valueQuantity.value, 84);
const included = await physician.search('Observation', `subject=Patient/${made.id}&_include=Observation:subject&_count=1`);
assert.deepEqual(included.entry.map((e) => e.search.mode), ['match', 'include']);
say('search: pages, ranges, include');

const updated = await physician.updateResource({ ...one, valueQuantity: { ...one.valueQuantity, value: 99 } });
assert.equal(updated.meta.versionId, '2');
assert.equal((await physician.readVersion('Observation', one.id, '1')).valueQuantity.value, 84);
const history = await physician.readHistory('Observation', one.id);
assert.deepEqual(history.entry.map((e) => e.resource.meta.versionId), ['2', '1']);
say('update, vread, history');

if (claimed.interactions.includes('patch')) {
  const patched = await physician.patchResource('Observation', one.id, [
    { op: 'replace', path: '/valueQuantity/value', value: 77 },
  ]);
  assert.equal(patched.valueQuantity.value, 77);
  say('patch');
}

const value = randomUUID();
const organization = { resourceType: 'Organization', name: value, identifier: [{ system: 'urn:test', value }] };
const create = () => writer.createResourceIfNoneExist(organization, `identifier=urn:test|${value}`);
const once = await create();
assert.equal((await create()).id, once.id);
say('conditional create');
if (claimed.conditionalUpdate) {
  const again = await writer.upsertResource({ ...organization, active: true }, `name:exact=${value}`);
  assert.equal(again.id, once.id);
  assert.equal(again.active, true);
  say('conditional update');
}

await physician.deleteResource('Observation', one.id);
const gone = await refused(() => physician.readResource('Observation', one.id));
assert.equal(gone.outcome.issue[0].code, 'deleted');
say('delete');

const done = await writer.executeBatch(transaction(`urn:uuid:${randomUUID()}`));
assert.deepEqual(done.entry.map((e) => e.response.status), ['201 Created', '201 Created']);
say('transaction');

if (claimed.operations.includes('validate')) {
  const outcome = await physician.validateResource(observation(made.id, 1));
  assert.equal(outcome.resourceType, 'OperationOutcome');
  say('$validate');
}
if ((await claims('Patient')).operations.includes('everything')) {
  const all = await physician.readPatientEverything(made.id);
  assert.ok(all.entry.some((e) => e.resource.resourceType === 'Observation'));
  say('$everything');
}

for (const [code, call] of [
  ['forbidden', () => as(DESK).createResource(observation(made.id, 1))],
  ['not-found', () => as(DESK).readResource('Observation', one.id)],
  ['not-found', () => physician.readResource('Patient', 'absent')],
  ['value', () => writer.createResource({ resourceType: 'Patient', birthDate: 'x' })],
]) {
  const error = await refused(call);
  assert.equal(error.outcome?.issue[0].code, code, JSON.stringify(error.outcome ?? error));
}
await refused(() => as('nobody').readResource('Patient', made.id));
say('refusals');
