"""Reads archive files with pyarrow and DuckDB, and checks them with nothing of Norma.

usage: archive_read.py DIRECTORY

Written after docs/archive.md: recomputes each leaf hash and each segment's root from the payloads, and compares them
with the leaf_hash column and the manifest in the file's metadata. Prints counts as JSON.
"""

import base64
import hashlib
import json
import pathlib
import sys

import duckdb
import pyarrow.parquet as pq
from audit_check import record_leaf, root


folder = pathlib.Path(sys.argv[1])
files = sorted(folder.glob("cluster=*/day=*/*.parquet"))
previous = None
records = 0
manifests = {}
for file in files:
    table = pq.ParquetFile(file)
    metadata = {key.decode(): value.decode() for key, value in table.metadata.metadata.items()}
    assert metadata["norma.schema"] == "norma.dev/audit-parquet/v2", metadata
    text = metadata["norma.manifest"]
    manifest = {}
    for line in text.splitlines()[1:]:
        name, _, value = line.partition(" ")
        manifest.setdefault(name, value)
    rows = table.read(columns=["record", "leaf_hash", "payload"]).to_pydict()
    leaves = [record_leaf(payload) for payload in rows["payload"]]
    assert leaves == rows["leaf_hash"], f"{file}: leaf hashes"
    assert base64.b64encode(root(leaves)).decode() == manifest["root"], f"{file}: root"
    first, last = map(int, manifest["records"].split())
    assert rows["record"] == list(range(first, last + 1)), f"{file}: records"
    if previous is not None:
        digest = base64.b64encode(hashlib.sha256(previous.encode()).digest()).decode()
        assert manifest["previous"] == digest, f"{file}: chain of manifests"
    previous = text
    records += len(leaves)
    manifests[manifest["file"]] = text

found = duckdb.sql(
    f"""select count(*), count(distinct record), count(*) filter (where event_kind = 'exec' and node = 'worker-1'),
        max(sequence), count(*) filter (where container = 'web' and verdict = 'novel'), min(cluster), epoch_ns(max(received_time))
        from read_parquet('{folder}/*/*/*.parquet', hive_partitioning = true)"""
).fetchall()[0]
print(
    json.dumps(
        {
            "files": len(files),
            "records": records,
            "manifests": manifests,
            "duckdb": {
                "records": found[0],
                "distinct": found[1],
                "exec": found[2],
                "last_sequence": found[3],
                "novel": found[4],
                "cluster": found[5],
                "received_ns": found[6],
            },
        }
    )
)
