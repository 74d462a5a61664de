"""fhirpy drives the server."""

import uuid

from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import (
    AuthorizationError,
    ForbiddenError,
    OperationOutcome,
    ResourceNotFound,
)

from world import (
    BASE,
    CA,
    DESK,
    PHYSICIAN,
    WRITER,
    Claims,
    observation,
    patient,
    refused,
    say,
    transaction,
)


def client(token, **headers):
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return SyncFHIRClient(
        BASE,
        authorization=f"Bearer {token}",
        extra_headers=more,
        requests_config={"verify": CA},
    )


writer, physician = client(WRITER), client(PHYSICIAN)
claims = Claims("Observation")



def members(resource):
    """A resource as fhirpy wants it: without its type."""
    return {name: value for name, value in resource.items() if name != "resourceType"}


made = writer.resource("Patient", **members(patient("Fhirpy")))
made.save()
assert made.id and made["meta"]["versionId"] == "1", made
read = physician.get("Patient", made.id)
assert read["name"][0]["family"] == "Fhirpy", read
say("create, read")

for n in range(25):
    physician.execute("Observation", data=observation(made.id, 60 + n, n + 1))
found = physician.resources("Observation").search(patient=made.id)
pages = found.sort("-date").limit(10)
every = pages.fetch_all()
values = [o["valueQuantity"]["value"] for o in every]
assert values == list(range(84, 59, -1)), values
assert len(pages.fetch()) == 10
assert len(found.search(date__ge="2024-01-20").fetch_all()) == 6
first = found.sort("date").first()
assert first["valueQuantity"]["value"] == 60, first
bundle = found.include("Observation", "subject").limit(5).fetch_raw()
kinds = [entry["search"]["mode"] for entry in bundle["entry"]]
assert kinds == ["match"] * 5 + ["include"], kinds
assert len(found.elements("code").limit(1).fetch()[0].get("valueQuantity", {})) == 0
lenient = client(PHYSICIAN, Prefer="handling=lenient")
# It asks with a parameter that no version of FHIR has.
assert lenient.resources("Observation").search(patient=made.id).count() == 25
say("search: pages, sort, ranges, include, elements, count")

one = physician.resource("Observation", **members(first))
one["valueQuantity"]["value"] = 99
one.save()
assert one["meta"]["versionId"] == "2", one["meta"]
assert physician.get("Observation", one.id)["valueQuantity"]["value"] == 99
one.refresh()
assert one["valueQuantity"]["value"] == 99
say("update, refresh")

if "patch" in claims.interactions:
    patcher = client(PHYSICIAN, Content_Type="application/json-patch+json")
    patch = [{"op": "replace", "path": "/valueQuantity/value", "value": 77}]
    patched = patcher.execute(f"Observation/{one.id}", method="patch", data=patch)
    assert patched["valueQuantity"]["value"] == 77, patched
    assert patched["meta"]["versionId"] == "3", patched
    say("patch")

history = one.execute("_history", method="get")
versions = [e["resource"]["meta"]["versionId"] for e in history["entry"]]
assert versions == sorted(versions, reverse=True) and len(versions) >= 2, versions
old = one.execute("_history/1", method="get")
assert old["valueQuantity"]["value"] == 60, old
say("history, vread")

assert physician.delete("Observation", one.id) is None
refused(ResourceNotFound, lambda: physician.get("Observation", one.id))
assert len(found.fetch_all()) == 24
say("delete")

once = f"identifier=urn:test|{uuid.uuid4()}"
conditional = client(WRITER, If_None_Exist=once)
organization = {
    "resourceType": "Organization",
    "name": "Once",
    "identifier": [{"system": "urn:test", "value": once.split("|")[1]}],
}
twice = [conditional.execute("Organization", data=organization)["id"] for _ in range(2)]
assert twice[0] == twice[1], twice
say("conditional create")

urn = f"urn:uuid:{uuid.uuid4()}"
done = client(WRITER, Prefer="return=representation").execute("", data=transaction(urn))
assert done["type"] == "transaction-response", done
made_patient, tied = (entry["resource"] for entry in done["entry"])
assert tied["subject"]["reference"] == f"Patient/{made_patient['id']}", tied
say("transaction")

if "validate" in claims.operations:
    good = physician.resource("Observation", **members(observation(made.id, 1)))
    assert good.is_valid(raise_exception=True)
    assert not physician.resource("Observation", status="final").is_valid()
    say("$validate")

refused(AuthorizationError, lambda: client("nobody").get("Patient", made.id))
refused(ResourceNotFound, lambda: client(DESK).get("Observation", every[0].id))
denied = client(DESK).resource("Organization", name="Denied")
refused(ForbiddenError, denied.save)
wrong = writer.resource("Patient", gender="no such thing")
issue = refused(OperationOutcome, wrong.save).resource["issue"][0]
assert issue["expression"] == ["Patient.gender"], issue
# Identifiers don't stand in URLs unless the operator lets them.
named = writer.resources("Patient").search(family="Fhirpy")
assert refused(OperationOutcome, named.fetch).resource["issue"][0]["code"] == "forbidden"
say("refusals")
