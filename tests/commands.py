"""The command line in a test: run it, see it refused, look at what it left."""

from pathlib import Path

from typer.testing import CliRunner, Result

from mzsr.apps.cli import app


def run(*arguments: object) -> Result:
    """Run a command in this process; whatever it raises but an exit is raised here."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def refused(result: Result, message: str, code: int) -> None:
    """Assert one line on standard error, nothing on standard output, and the exit code."""
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("mzsr: ")
    assert message in result.stderr


def listing(folder: Path) -> dict[str, bytes | None]:
    """Return all that a folder holds: names → bytes, None for folders."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}
