"""Checks a folder of evidence with other people's programs: the envelope with securesystemslib, the statement with
in-toto-attestation, the OSCAL document with compliance-trestle, and that the checklist is formed as STIG Viewer 3 writes
them. Prints what it found as JSON; fails with a reason on standard error."""

import hashlib
import json
import pathlib
import sys
import uuid

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey
from trestle.oscal.assessment_results import AssessmentResults, Model

folder = pathlib.Path(sys.argv[1])
key_file = pathlib.Path(sys.argv[2])

envelope = json.loads((folder / "evidence.dsse.json").read_text())
key_id = envelope["signatures"][0]["keyid"]
key = SSlibKey.from_crypto(load_pem_public_key(key_file.read_bytes()), keyid=key_id)
verified = Envelope.from_dict(json.loads(json.dumps(envelope)))
verified.verify([key], 1)
assert verified.payload_type == "application/vnd.in-toto+json"

message = json_format.Parse(verified.payload, statement_pb2.Statement())
Statement.copy_from_pb(message).validate()
statement = json.loads(verified.payload)
for name, digest in statement["predicate"]["documents"].items():
    found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert found == digest["sha256"], name

document = json.loads((folder / "oscal-assessment-results.json").read_text())
results = Model.parse_obj(document).assessment_results
assert isinstance(results, AssessmentResults)
misspelt = json.loads(json.dumps(document))
misspelt["assessment-results"]["results"][0]["observation"] = []
try:
    Model.parse_obj(misspelt)
except Exception:
    pass
else:
    raise AssertionError("the validator accepts a field that OSCAL does not have")

checklist = json.loads((folder / "checklist.cklb").read_text())
assert checklist["cklb_version"] == "1.0"
statuses = {}
for stig in checklist["stigs"]:
    assert stig["size"] == len(stig["rules"])
    for rule in stig["rules"]:
        assert rule["stig_uuid"] == stig["uuid"]
        assert rule["status"] in ("open", "not_a_finding", "not_reviewed", "not_applicable")
        assert rule["severity"] in ("high", "medium", "low")
        assert str(uuid.UUID(rule["uuid"])) == rule["uuid"]
        assert rule["finding_details"]
        assert rule["group_id"] not in statuses, "a rule is there twice"
        statuses[rule["group_id"]] = rule["status"]

targets = {}
for finding in results.results[0].findings or []:
    targets[finding.target.target_id] = finding.target.status.state.value
print(json.dumps({"statement": statement, "statuses": statuses, "targets": targets}))
