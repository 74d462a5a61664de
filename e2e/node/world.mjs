// The server that the clients drive: where it is, who may ask, and what it claims.
import assert from 'node:assert/strict';

export const BASE = process.env.PHIAL_BASE;
// Writes every type and deletes none.
export const WRITER = process.env.PHIAL_TOKEN_WRITER;
// Sees, writes and deletes the clinical record.
export const PHYSICIAN = process.env.PHIAL_TOKEN_PHYSICIAN;
// Sees no clinical record.
export const DESK = process.env.PHIAL_TOKEN_DESK;

// What the CapabilityStatement says of a type.
export async function claims(type) {
  const said = (await (await fetch(`${BASE}/metadata`)).json()).rest[0];
  const resource = said.resource.find((r) => r.type === type);
  return {
    interactions: resource.interaction.map((i) => i.code),
    operations: (resource.operation ?? []).map((o) => o.name),
    conditionalUpdate: resource.conditionalUpdate,
    system: said.interaction.map((i) => i.code),
  };
}

export const patient = (family) => ({
  resourceType: 'Patient',
  name: [{ family, given: ['Test'] }],
  gender: 'unknown',
  birthDate: '1970-01-01',
});

export const observation = (id, value, day = 1) => ({
  resourceType: 'Observation',
  status: 'final',
  code: { coding: [{ system: 'http://loinc.org', code: '8867-4' }] },
  subject: { reference: `Patient/${id}` },
  effectiveDateTime: `2024-01-${String(day).padStart(2, '0')}`,
  valueQuantity: { value, unit: '/min', system: 'http://unitsofmeasure.org', code: '/min' },
});

// A patient and an observation of that patient, tied by a urn.
export function transaction(urn) {
  const tied = observation('none', 70);
  tied.subject.reference = urn;
  return {
    resourceType: 'Bundle',
    type: 'transaction',
    entry: [
      { fullUrl: urn, resource: patient('Bundled'), request: { method: 'POST', url: 'Patient' } },
      { resource: tied, request: { method: 'POST', url: 'Observation' } },
    ],
  };
}

export const down = (from, to) => Array.from({ length: from - to + 1 }, (_, n) => from - n);

// What `call` was refused with.
export async function refused(call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  assert.fail('a refusal was expected');
}

export const say = (line) => console.log(`   ${line}`);
