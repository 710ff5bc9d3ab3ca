"""A PostgreSQL server of Debian's packages for the tests: in a folder of its own, on a Unix socket, without TCP."""

import os
import pwd
import shutil
import subprocess
import tempfile
from itertools import count
from pathlib import Path

import psycopg


def find_binaries() -> Path | None:
    on_path = shutil.which("initdb")
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = Path(on_path) if on_path else versions[-1] if versions else None
    return found and found.resolve().parent


def why_not() -> str | None:
    """Why no server can be started here."""
    if find_binaries() is None:
        return "no PostgreSQL server here: apt-get install postgresql"
    if os.geteuid() == 0 and not any(user.pw_name == "postgres" for user in pwd.getpwall()):
        return "PostgreSQL does not run as root, and there is no user postgres"
    return None


class PostgresServer:
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="trsr-postgres-"))  # a socket's path has room for 107 characters
        self.data = self.folder / "data"
        self._binaries = find_binaries()
        self._numbers = count()
        self._owner = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        if self._owner:
            shutil.chown(self.folder, "postgres", "postgres")
        self._run("initdb", "-D", self.data, "-U", "trsr", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c fsync=off"
        self._run("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-o", options, "-w", "start")

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"store{next(self._numbers)}"
        with psycopg.connect(host=str(self.folder), user="trsr", dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://trsr@/{name}?host={self.folder}"

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.folder)

    def _run(self, program, *arguments):
        command = [str(self._binaries / program), *map(str, arguments)]
        # a server keeps what it inherits, so output goes to a file, not to a pipe that would never end
        with (self.folder / f"{program}.out").open("w") as out:
            subprocess.run(command, check=True, cwd=self.folder, stdout=out, stderr=out, **self._owner)
