"""A store that takes lock headers and does not lock: `silent` says nothing of locks afterwards, `liar` says that it did.

usage: archive_lockless.py PORT silent|liar
"""

import base64
import hashlib
import http.server
import sys
import urllib.parse

mode = sys.argv[2]
objects = {}


class Store(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b"", headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def place(self):
        url = urllib.parse.urlsplit(self.path)
        return url.path, urllib.parse.parse_qs(url.query, keep_blank_values=True)

    def do_PUT(self):
        path, _ = self.place()
        content = self.rfile.read(int(self.headers["Content-Length"]))
        until = self.headers.get("x-amz-object-lock-retain-until-date")
        objects[path] = (content, until)
        self.answer(200, headers={"x-amz-version-id": "1"})

    def do_HEAD(self):
        path, _ = self.place()
        if path not in objects:
            return self.answer(404)
        content, _ = objects[path]
        checksum = base64.b64encode(hashlib.sha256(content).digest()).decode()
        self.answer(200, headers={"Content-Length": str(len(content)), "x-amz-checksum-sha256": checksum})

    def do_GET(self):
        path, query = self.place()
        content, until = objects[path]
        if "retention" in query:
            if mode == "silent":
                return self.answer(404, b"<Error><Code>NoSuchObjectLockConfiguration</Code></Error>")
            text = f"<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>"
            return self.answer(200, text.encode())
        self.answer(200, content)

    def do_DELETE(self):
        path, _ = self.place()
        objects.pop(path, None)
        self.answer(204)

    def log_message(self, *arguments):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Store).serve_forever()
