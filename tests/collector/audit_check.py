"""Checks an audit log from its files alone, with nothing of Norma: python3 and its standard library.

usage: audit_check.py DIRECTORY [PROOF...]

Written after docs/audit.md, RFC 6962 and c2sp.org. Verifies frames, the chain, segment trees, manifests, entries,
tiles, the checkpoint's root, and the inclusion proofs given. Prints the checkpoint's text and signature for who can
verify Ed25519.
"""

import base64
import hashlib
import json
import pathlib
import struct
import sys


def sha(*parts):
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def leaf(entry):
    return sha(b"\0", entry)


def varint(data, at):
    """The number at a place, and where it ends."""
    value, shift = 0, 0
    while data[at] & 0x80:
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
    return value | data[at] << shift, at + 1


def record_leaf(payload):
    """A record's place in the tree: one with an event has the event's hash there instead of the event."""
    assert payload[0] == 0x08, "a record begins with its number"
    _, at = varint(payload, 1)
    assert payload[at] == 0x11, "and then has its time"
    at += 9
    if payload[at] != 0x5A:
        return leaf(payload)
    length, at = varint(payload, at + 1)
    assert at + length == len(payload), "the event is the last of it"
    return leaf(b"\0" + payload[:at] + sha(payload[at:]))


def root(leaves):
    if not leaves:
        return sha()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha(b"\1", root(leaves[:split]), root(leaves[split:]))


def climb(index, size, hashed, path):
    """Root that an inclusion proof leads to: RFC 9162 section 2.1.3.2."""
    node, last = index, size - 1
    assert index < size, "no such entry"
    for other in path:
        assert last > 0, "proof too long"
        if node % 2 == 1 or node == last:
            hashed = sha(b"\1", other, hashed)
            while node % 2 == 0 and node != 0:
                node, last = node // 2, last // 2
        else:
            hashed = sha(b"\1", hashed, other)
        node, last = node // 2, last // 2
    assert last == 0, "proof too short"
    return hashed


def b64(data):
    return base64.b64encode(data).decode()


def frames(path, previous):
    """Payloads of a file, and the chain hash after each."""
    data = path.read_bytes()
    assert data[:16] == b"norma audit v03\n", path
    at, found = 16, []
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        payload = data[at + 8 : at + 8 + length]
        link = data[at + 8 + length : at + 40 + length]
        assert sha(previous, record_leaf(payload)) == link, f"{path} at {at}: the chain is broken"
        previous = link
        found.append((payload, link))
        at += 40 + length
    return data, found


def fields(text):
    return [(line.split(" ")[0], line.split(" ")[1:]) for line in text.splitlines()]


def entries(folder, size):
    """All entries, held against the tiles of their hashes."""
    listed = []
    for bundle in range((size + 255) // 256):
        width = min(256, size - bundle * 256)
        name = f"{bundle % 1000:03}"
        rest = bundle // 1000
        while rest:
            name = f"x{rest % 1000:03}/{name}"
            rest //= 1000
        suffix = "" if width == 256 else f".p/{width}"
        data = (folder / "tile/entries" / (name + suffix)).read_bytes()
        at = 0
        here = []
        while at < len(data):
            (length,) = struct.unpack_from(">H", data, at)
            here.append(data[at + 2 : at + 2 + length])
            at += 2 + length
        assert len(here) == width, "a bundle of another width"
        tile = (folder / "tile/0" / (name + suffix)).read_bytes()
        assert tile == b"".join(leaf(entry) for entry in here), "a tile of other hashes"
        listed += here
    return listed


def check_log(audit):
    text, signatures = (audit / "tlog/checkpoint").read_text().split("\n\n", 1)
    origin, size, expected = text.split("\n")
    listed = entries(audit / "tlog", int(size))
    assert b64(root([leaf(entry) for entry in listed])) == expected, "the checkpoint has another root"

    files = sorted(audit.glob("audit-*.log"))
    link, digest, records = bytes(32), bytes(32), 0
    by_segment = []
    for number, path in enumerate(files):
        data, found = frames(path, link)
        by_segment.append(found)
        manifest_file = path.with_suffix(".manifest")
        if manifest_file.exists():
            manifest = dict(fields(manifest_file.read_text()))
            assert manifest["segment"] == [str(number)]
            assert manifest["records"] == [str(records + 1), str(records + len(found))]
            assert manifest["root"] == [b64(root([record_leaf(payload) for payload, _ in found]))]
            assert manifest["chain"] == [b64(link), b64(found[-1][1])]
            assert manifest["bytes"] == [str(len(data))]
            assert manifest["sha256"] == [b64(sha(data))]
            assert manifest["previous"] == [b64(digest)]
            digest = sha(manifest_file.read_bytes())
            entry = [entry for entry in listed if f"\nsegment {number}\nrecords".encode() in entry and b"manifest" in entry]
            assert len(entry) == 1, "a segment is one entry"
            assert dict(fields(entry[0].decode()))["manifest"] == [b64(digest)]
        link = found[-1][1]
        records += len(found)

    heads = 0
    for entry in listed:
        said = dict(fields(entry.decode()))
        if "norma.dev/audit-head/v1" in said:
            heads += 1
            found = by_segment[int(said["segment"][0])]
            first, last = (int(value) for value in said["records"])
            upto = found[: last - first + 1]
            assert said["root"] == [b64(root([record_leaf(payload) for payload, _ in upto]))]
            assert said["chain"] == [b64(upto[-1][1])]
    signature = next(line for line in signatures.splitlines() if line.startswith(f"\u2014 {origin} "))
    return {
        "records": records,
        "segments": len([path for path in files if path.with_suffix(".manifest").exists()]),
        "heads": heads,
        "checkpoint": text + "\n",
        "signature": base64.b64decode(signature.split(" ")[2])[4:].hex(),
    }


def check_proof(path):
    """The payload of the record that a proof is of."""
    head, checkpoint = path.read_text().split("\n\n", 1)
    lines = head.split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    extra = base64.b64decode(lines[1].removeprefix("extra ")).decode()
    index = int(lines[2].removeprefix("index "))
    way = [base64.b64decode(line) for line in lines[3:]]
    _, size, expected = checkpoint.split("\n\n", 1)[0].split("\n")
    inner, entry = extra.split("\n\n", 1)
    assert b64(climb(index, int(size), leaf(entry.encode()), way)) == expected, "not in the log"
    inner = inner.split("\n")
    assert inner[0] == "norma.dev/audit-record/v1"
    payload = base64.b64decode(inner[1].removeprefix("record "))
    place = int(inner[2].removeprefix("leaf "))
    way = [base64.b64decode(line) for line in inner[3:]]
    said = dict(fields(entry))
    first, last = (int(value) for value in said["records"])
    assert said["root"] == [b64(climb(place, last - first + 1, record_leaf(payload), way))], "not in the segment"
    return payload.hex()


if __name__ == "__main__":
    result = check_log(pathlib.Path(sys.argv[1]))
    result["proven"] = [check_proof(pathlib.Path(path)) for path in sys.argv[2:]]
    print(json.dumps(result))
