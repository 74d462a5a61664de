"""fhirclient drives the server."""

import uuid

from fhirclient import client as smart
from fhirclient.models.bundle import Bundle
from fhirclient.models.observation import Observation
from fhirclient.models.patient import Patient
from fhirclient.server import (
    FHIRNotFoundException,
    FHIRPermissionDeniedException,
    FHIRServer,
    FHIRUnauthorizedException,
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


def server(token):
    found = FHIRServer(None, base_uri=BASE)
    found.session.verify = CA
    found.session.headers["Authorization"] = f"Bearer {token}"
    return found


writer, physician = server(WRITER), server(PHYSICIAN)
claims = Claims("Observation")

# It reads the whole statement into its own strict model.
statement = physician.capabilityStatement
assert statement.fhirVersion == "4.0.1" and len(statement.rest[0].resource) > 140
app = smart.FHIRClient(settings={"app_id": "test", "api_base": BASE})
app.server.session.verify = CA
app.server.session.headers["Authorization"] = f"Bearer {PHYSICIAN}"
assert app.prepare() and app.ready
say("CapabilityStatement")

made = Patient(patient("Fhirclient")).create(writer)
read = Patient.read(made["id"], physician)
assert read.name[0].family == "Fhirclient" and read.meta.versionId == "1"
assert Patient.read(made["id"], app.server).id == made["id"]
say("create, read")

for n in range(25):
    Observation(observation(made["id"], 60 + n, n + 1)).create(physician)
search = Observation.where(
    {"patient": made["id"], "_sort": "-date", "_count": "10", "code": "8867-4"}
)
pages = list(search.perform_iter(physician))
assert [len(page.entry) for page in pages] == [10, 10, 5], pages
values = [o.valueQuantity.value for o in search.perform_resources(physician)]
assert values == list(range(84, 59, -1)), values
late = Observation.where({"patient": made["id"], "date": {"$and": ["ge2024-01-05", "lt2024-01-08"]}})
assert len(late.perform_resources(physician)) == 3
both = Observation.where({"patient": made["id"], "_count": "1"})
both = both.include("subject", Observation).perform(physician)
assert [e.search.mode for e in both.entry] == ["match", "include"]
assert isinstance(both.entry[1].resource, Patient)
say("search: pages, sort, ranges, include")

one = search.perform_resources(physician)[0]
one.valueQuantity.value = 99
assert one.update(physician)["meta"]["versionId"] == "2"
again = Observation.read(one.id, physician)
assert again.valueQuantity.value == 99 and again.meta.versionId == "2"
say("update")

history = Bundle(physician.request_json(f"Observation/{one.id}/_history"))
assert history.type == "history"
assert [e.resource.meta.versionId for e in history.entry] == ["2", "1"]
old = Observation.read_from(f"Observation/{one.id}/_history/1", physician)
assert old.valueQuantity.value == 84
say("history, vread")

assert again.delete() is None
gone = refused(Exception, lambda: Observation.read(one.id, physician))
assert gone.response.status_code == 410, gone
assert len(search.perform_resources(physician)) == 24
say("delete")

urn = f"urn:uuid:{uuid.uuid4()}"
done = Bundle(Bundle(transaction(urn)).create(writer))
assert [e.response.status for e in done.entry] == ["201 Created"] * 2
tied = Observation.read_from(done.entry[1].response.location, physician)
assert done.entry[0].response.location.split("/_history")[0].endswith(tied.subject.reference)
say("transaction")

if "validate" in claims.operations:
    outcome = physician.post_json("Observation/$validate", observation(made["id"], 1)).json()
    assert all(i["severity"] not in ("error", "fatal") for i in outcome["issue"]), outcome
    say("$validate")
if "everything" in Claims("Patient").operations:
    everything = Bundle(physician.request_json(f"Patient/{made['id']}/$everything"))
    assert {type(e.resource) for e in everything.entry} >= {Patient, Observation}
    say("$everything")

refused(FHIRUnauthorizedException, lambda: Patient.read(made["id"], server("nobody")))
refused(FHIRNotFoundException, lambda: Observation.read(old.id, server(DESK)))
refused(
    FHIRPermissionDeniedException,
    lambda: Observation(observation(made["id"], 1)).create(server(DESK)),
)
refused(FHIRNotFoundException, lambda: Patient.read("absent", physician))
say("refusals")
