"""A small file server that keeps or breaks its promises: ranges, tags, and connections that end too early."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """`data` is the file, `tag` its ETag, `cuts` after how many bytes the next answers break off.

    `ranges`: whether parts are served; `lengths`: whether their length is told. `statuses` are answered instead, one a
    request. `asked` are the `Range`s of all requests so far.
    """

    daemon_threads = True

    def __init__(self, data):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.tag, self.ranges, self.lengths = data, '"one"', True, True
        self.cuts, self.statuses, self.asked = [], [], []
        self.url = f"http://127.0.0.1:{self.server_port}/files/data.zip"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FileServer

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.asked.append(self.headers.get("Range"))
        if server.statuses:
            self.send_response(server.statuses.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data, start, status = server.data, 0, 200
        if server.ranges and self.headers.get("Range") and self.headers.get("If-Range") == server.tag:
            start, status = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")), 206
        if start >= len(data):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(status)
        if server.lengths:
            self.send_header("Content-Length", str(len(data) - start))
        if server.tag:
            self.send_header("ETag", server.tag)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else None
        self.wfile.write(data[start:] if cut is None else data[start : start + cut])
        self.close_connection = cut is not None or not server.lengths


@contextmanager
def serving_file(data):
    server = FileServer(data)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
