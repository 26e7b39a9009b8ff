"""Looks at a bucket as any S3 client does (boto3).

usage: archive_bucket.py ENDPOINT make BUCKET lock|plain
       archive_bucket.py ENDPOINT list BUCKET
       archive_bucket.py ENDPOINT extend BUCKET KEY SECONDS
"""

import datetime
import hashlib
import json
import sys

import boto3

endpoint, what, bucket = sys.argv[1:4]
s3 = boto3.client(
    "s3",
    endpoint_url=endpoint,
    region_name="us-east-1",
    aws_access_key_id="norma",
    aws_secret_access_key="secret",
)
if what == "make":
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=sys.argv[4] == "lock")
elif what == "extend":
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=int(sys.argv[5]))
    s3.put_object_retention(
        Bucket=bucket, Key=sys.argv[4], Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until}
    )
else:
    objects = []
    for version in s3.list_object_versions(Bucket=bucket).get("Versions", []):
        place = {"Bucket": bucket, "Key": version["Key"], "VersionId": version["VersionId"]}
        content = s3.get_object(**place)["Body"].read()
        head = s3.head_object(**place)
        objects.append(
            {
                "key": version["Key"],
                "sha256": hashlib.sha256(content).hexdigest(),
                "mode": head["ObjectLockMode"],
                "retain_until": int(head["ObjectLockRetainUntilDate"].timestamp()),
                "legal_hold": head.get("ObjectLockLegalHoldStatus", "OFF"),
            }
        )
    print(json.dumps(objects))
