"""A small web service: items in a cache, reports as files, and a check of hosts that quotes nothing."""

import http.server
import os
import socket
import tempfile
import urllib.parse


def cache(command):
    with socket.create_connection(("127.0.0.1", 16379), 2) as connection:
        connection.sendall(command.encode() + b"\r\n")
        return connection.recv(4096)


def report(number):
    with tempfile.NamedTemporaryFile("w", prefix="report-", dir="/var/tmp") as file:
        file.write(f"report {number}\n" * 50)
        file.flush()
        return os.path.getsize(file.name)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/items":
            body = cache("GET item:" + query.get("id", "0").split()[0])
        elif url.path == "/report":
            body = str(report(query.get("id"))).encode()
        elif url.path == "/ping":
            # The hole that most of the attacks go through.
            body = os.popen("echo checking " + query.get("host", "")).read().encode()
        elif url.path == "/version":
            with open("/app/version") as file:
                body = file.read().encode()
        else:
            body = b"hello\n"
        self.answer(body)

    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        self.rfile.read(length)
        cache(f"SET item:{length} {length}")
        self.answer(b"taken\n")

    def answer(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        with open("/var/log/api.log", "a") as file:
            file.write(self.path + "\n")


if os.path.exists("/app/features.json"):
    import json

    json.load(open("/app/features.json"))

http.server.ThreadingHTTPServer(("127.0.0.1", 18081), Handler).serve_forever()
