"""Real programs on free ports of loopback, in a folder that goes with them: daemons on both footings, Prometheus, Alertmanager.

Whatever is started here is ended by its process id when the `with` is left.
"""
import glob
import http.server
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

import yaml

PATIENCE = 180
DEPLOY = pathlib.Path("deploy").resolve()
TOKEN = "a-token-for-the-check"


def free_port():
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return door.getsockname()[1]


def fetch(url, body=None, token=TOKEN):
    """The answer's text; a refusal is an exception."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=30) as answer:
        return answer.read().decode()


def until(what, fact, patience=PATIENCE):
    """Waits until `fact` gives something; a refused call counts as nothing."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            found = fact()
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            found, what_else = None, error
        else:
            what_else = found
        if found:
            return found
        time.sleep(0.2)
    raise SystemExit(f"in vain: {what} ({what_else})")


class Sink(http.server.BaseHTTPRequestHandler):
    """Takes every webhook, and remembers who was meant."""

    heard = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        names = [alert["labels"]["alertname"] for alert in body["alerts"]]
        self.heard.append((self.path.strip("/"), body["status"], names))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


class Stage:
    def __init__(self, ganger):
        self.ganger = str(pathlib.Path(ganger).resolve())
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ganger-deploy-"))
        self.running = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.running):
            process.terminate()
        for process in self.running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, name, *command, **more):
        log = open(self.folder / f"{name}.log", "wb")
        self.running.append(subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, **more))

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def demo(self):
        """A day's work on the embedded footing; it stays up at its end."""
        port = free_port()
        self.start("demo", self.ganger, "demo", "--seed", "7", "--listen", f"127.0.0.1:{port}")
        return f"127.0.0.1:{port}"

    def cluster(self, config):
        """A node on Redis and Postgres."""
        redis, postgres, port = free_port(), free_port(), free_port()
        self.start("redis", "redis-server", "--port", redis, "--bind", "127.0.0.1", "--save", "", "--dir", self.folder,
                   "--maxmemory", "64mb", "--maxmemory-policy", "noeviction")
        self.postgres(postgres)
        (self.folder / "cluster.toml").write_text(config)
        env = {name: value for name, value in os.environ.items() if not name.startswith("GANGER__")}
        self.start("cluster", self.ganger, "serve", "--listen", f"127.0.0.1:{port}", "--migrate",
                   "--config", self.folder / "cluster.toml", "--redis-url", f"redis://127.0.0.1:{redis}",
                   "--database-url", f"postgres://postgres@127.0.0.1:{postgres}/postgres", env=env)
        return f"127.0.0.1:{port}"

    def postgres(self, port):
        programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        programs = pathlib.Path(programs[-1] if programs else shutil.which("postgres")[: -len("/postgres")])
        data = self.folder / "postgres"
        data.mkdir()
        # Postgres refuses to run as root.
        who = {"user": "postgres"} if os.getuid() == 0 else {}
        if who:
            shutil.chown(data, "postgres")
            os.chmod(self.folder, 0o755)
        made = subprocess.run([programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N"], cwd="/",
                              capture_output=True, text=True, **who)
        if made.returncode:
            raise SystemExit(made.stderr)
        self.start("postgres", programs / "postgres", "-D", data, "-p", port, "-h", "127.0.0.1", "-k", "", cwd="/", **who)

    def alertmanager(self, ganger):
        """Our configuration, with the receivers' placeholders in the place of people."""
        sink = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
        threading.Thread(target=sink.serve_forever, daemon=True).start()
        token, port = self.folder / "token", free_port()
        token.write_text(TOKEN)
        config = (DEPLOY / "alertmanager/alertmanager.yml").read_text()
        config = config.replace("http://localhost:9095", f"http://127.0.0.1:{sink.server_port}")
        config = config.replace("http://localhost:7521", f"http://{ganger}")
        config = config.replace("/etc/alertmanager/ganger-token", str(token))
        # As far as waiting for people is concerned.
        config = config.replace("group_wait: 30s", "group_wait: 1s")
        (self.folder / "alertmanager.yml").write_text(config)
        self.start("alertmanager", manager(), f"--config.file={self.folder}/alertmanager.yml",
                   f"--storage.path={self.folder}/alertmanager", f"--web.listen-address=127.0.0.1:{port}",
                   "--cluster.listen-address=")
        return f"127.0.0.1:{port}"

    def prometheus(self, alertmanager, gangers):
        """Our configuration, asking quicker."""
        config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
        config["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(DEPLOY / "prometheus" / files) for files in config["rule_files"]]
        port = free_port()
        targets = {"ganger": gangers, "prometheus": [f"127.0.0.1:{port}"], "alertmanager": [alertmanager]}
        for job in config["scrape_configs"]:
            job["static_configs"] = [{"targets": targets[job["job_name"]]}]
        config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [alertmanager]}]}]
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.start("prometheus", "prometheus", "--rules.alert.resend-delay=1s", f"--config.file={self.folder}/prometheus.yml",
                   f"--storage.tsdb.path={self.folder}/prometheus", f"--web.listen-address=127.0.0.1:{port}")
        return f"http://127.0.0.1:{port}"


def manager():
    """Debian calls it otherwise."""
    return shutil.which("alertmanager") or shutil.which("prometheus-alertmanager")
