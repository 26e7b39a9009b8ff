"""Reads encrypted archive files with pyarrow, with their keys and without, and with nothing of Norma.

usage: archive_encrypted.py DIRECTORY KEYS KEK

Written after docs/archive.md. Without a key, the leaf hashes can be read and make the root in the manifest, and the
payloads cannot. With the key, which is unwrapped here, the payloads have these leaf hashes. Prints for each file, by
segment, whether it could be read with a key, as JSON.
"""

import base64
import json
import pathlib
import sys

import duckdb
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
from audit_check import record_leaf, root
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

folder, keys = map(pathlib.Path, sys.argv[1:3])
kek = base64.b64decode(pathlib.Path(sys.argv[3]).read_text())


def lines(text):
    return dict(line.partition(" ")[::2] for line in text.splitlines()[1:])


class Keys(pe.KmsClient):
    """What pyarrow asks for the key that a file names."""

    def wrap_key(self, key, master):
        raise NotImplementedError

    def unwrap_key(self, wrapped, master):
        return aes_key_unwrap(kek, base64.b64decode(lines((keys / master).read_text())["wrapped"]))


factory = pe.CryptoFactory(lambda config: Keys())
readable = {}
for file in sorted(folder.glob("cluster=*/day=*/*.parquet")):
    table = pq.ParquetFile(file)
    manifest = lines(table.metadata.metadata[b"norma.manifest"].decode())
    plain = table.read(columns=["record", "leaf_hash"]).to_pydict()
    first, last = map(int, manifest["records"].split())
    assert plain["record"] == list(range(first, last + 1)), f"{file}: records"
    assert base64.b64encode(root(plain["leaf_hash"])).decode() == manifest["root"], f"{file}: root"
    for column in set(table.schema_arrow.names) - {"record", "leaf_hash"}:
        try:
            table.read(columns=[column])
        except OSError:
            continue
        raise AssertionError(f"{file}: {column} can be read without a key")
    try:
        properties = factory.file_decryption_properties(pe.KmsConnectionConfig(), pe.DecryptionConfiguration())
        opened = pq.ParquetFile(file, decryption_properties=properties)
        rows = opened.read(columns=["payload", "event_kind"]).to_pydict()
    except (OSError, FileNotFoundError):
        readable[manifest["segment"]] = False
        continue
    leaves = [record_leaf(payload) for payload in rows["payload"]]
    assert leaves == plain["leaf_hash"], f"{file}: leaf hashes"
    readable[manifest["segment"]] = True

count = duckdb.sql(f"select count(distinct leaf_hash) from read_parquet('{folder}/*/*/*.parquet')").fetchall()[0][0]
print(json.dumps({"readable": readable, "leaves": count}))
