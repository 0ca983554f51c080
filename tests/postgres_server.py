"""A private PostgreSQL cluster for the tests: started in a temporary folder, thrown away afterwards."""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg

SETTINGS = {
    "listen_addresses": "''",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "150",
    "shared_buffers": "16MB",
}


def find_programs() -> Path | None:
    """The folder with the newest installed initdb and pg_ctl, if there is one."""
    installed = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if installed:
        return max(installed, key=lambda folder: float(folder.parent.name))
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


@dataclass
class PostgresServer:
    """A running cluster, reached through a socket in its own folder."""

    programs: Path
    folder: Path

    def __post_init__(self) -> None:
        self._numbers = count(1)

    @classmethod
    def start(cls, programs: Path) -> "PostgresServer":
        server = cls(programs, Path(tempfile.mkdtemp(prefix="rapport-pg-")))
        if os.geteuid() == 0:
            shutil.chown(server.folder, "postgres", "postgres")
        server._run(
            "initdb",
            "--pgdata",
            server._data,
            "--auth=trust",
            "--username=postgres",
            "--no-sync",
            "-E",
            "UTF8",
        )
        server.resume()
        return server

    def resume(self) -> None:
        options = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
        self._run(
            "pg_ctl", "--pgdata", self._data, "--wait", "--log", str(self.folder / "log.txt"),
            "--options", f"-k {self.folder} {options}", "start",
        )  # fmt: skip

    def pause(self) -> None:
        self._run("pg_ctl", "--pgdata", self._data, "--mode=immediate", "--wait", "stop")

    def stop(self) -> None:
        self.pause()
        shutil.rmtree(self.folder, ignore_errors=True)

    def create_database(self, template: str = "template0") -> str:
        """A fresh database, a copy of the template; gives its name."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop_database(self, name: str) -> None:
        self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@/{name}?host={quote(str(self.folder), safe='')}"

    def execute(self, statement: str) -> None:
        with psycopg.connect(
            f"host={self.folder} user=postgres dbname=postgres", autocommit=True
        ) as connection:
            connection.execute(statement)

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _run(self, program: str, *arguments: str) -> None:
        as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [*as_postgres, str(self.programs / program), *arguments],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False,
            )  # fmt: skip
            output.seek(0)
            if done.returncode != 0:
                raise RuntimeError(f"{program} failed: {output.read().decode()}")
