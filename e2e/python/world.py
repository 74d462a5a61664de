"""The server that the clients drive: where it is, who may ask, and what it claims."""

import json
import os
import ssl
import urllib.request

BASE = os.environ["PHIAL_BASE"]
CA = os.environ["PHIAL_CA"]
# Writes every type and deletes none.
WRITER = os.environ["PHIAL_TOKEN_WRITER"]
# Sees, writes and deletes the clinical record.
PHYSICIAN = os.environ["PHIAL_TOKEN_PHYSICIAN"]
# Sees no clinical record.
DESK = os.environ["PHIAL_TOKEN_DESK"]


def metadata():
    context = ssl.create_default_context(cafile=CA)
    with urllib.request.urlopen(f"{BASE}/metadata", context=context) as answer:
        return json.load(answer)


class Claims:
    """What the CapabilityStatement says of a type."""

    def __init__(self, resource_type):
        rest = metadata()["rest"][0]
        self.said = next(r for r in rest["resource"] if r["type"] == resource_type)
        self.interactions = {i["code"] for i in self.said["interaction"]}
        self.operations = {o["name"] for o in self.said.get("operation", [])}
        self.system = {i["code"] for i in rest["interaction"]}


def patient(family):
    return {
        "resourceType": "Patient",
        "name": [{"family": family, "given": ["Test"]}],
        "gender": "unknown",
        "birthDate": "1970-01-01",
    }


CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"


def observation(patient_id, value, day=1):
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [{"coding": [{"system": CATEGORY, "code": "vital-signs"}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "subject": {"reference": f"Patient/{patient_id}"},
        "effectiveDateTime": f"2024-01-{day:02}",
        "valueQuantity": {
            "value": value,
            "unit": "/min",
            "system": "http://unitsofmeasure.org",
            "code": "/min",
        },
    }


def transaction(urn):
    """A patient and an observation of that patient, tied by a urn."""
    tied = observation("none", 70)
    tied["subject"] = {"reference": urn}
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": urn,
                "resource": patient("Bundled"),
                "request": {"method": "POST", "url": "Patient"},
            },
            {"resource": tied, "request": {"method": "POST", "url": "Observation"}},
        ],
    }


def refused(kind, call):
    """What `call` raised, which is of this kind."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")


def say(line):
    print(f"   {line}", flush=True)
