"""`mzsr serve`: the page and the HTTP API, from one command."""

import os
import re
import socket
import tempfile
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from mzsr.apps.usage import echo, millions, seconds, several, usage
from mzsr.errors import InputError

TOKEN = "MZSR_TOKEN"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
EVERYWHERE = ("0.0.0.0", "::")  # addresses to listen on, but none to ask
LEAST_MEMORY = 1  # GB; half of it is PyTorch
LONGEST_KEEP = 876_000  # hours: a hundred years
SHORTEST_TOKEN = 16  # characters; below it, it can be guessed


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; other than this machine's own, with a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 7860,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Jobs and pictures. Default: ~/.local/share/mzsr, or mzsr in XDG_DATA_HOME."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("-n", "--model", help="To offer, the first by default; left out: all models.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Pictures at a time. Default: one for two cores.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of each worker. Default: the cores, shared among the workers.")
    ] = None,
    queue: Annotated[int, typer.Option(min=1, help="Pictures that may wait; more are told when to come back.")] = 50,
    max_bytes: Annotated[float, typer.Option(metavar="MILLIONS", help="Of a picture that is sent.")] = 100.0,
    max_pixels: Annotated[
        float, typer.Option(metavar="MILLIONS", help="Of a picture that is sent; results may have four times as many.")
    ] = 24.0,
    time_limit: Annotated[str, typer.Option(metavar="TIME", help="For one picture, like 90s or 10m.")] = "10m",
    memory: Annotated[
        float | None, typer.Option(metavar="GB", help="Of each worker. Default: 80 % of the machine's, shared.")
    ] = None,
    keep: Annotated[float, typer.Option(metavar="HOURS", help="How long results are kept.")] = 24.0,
    grace: Annotated[str, typer.Option(metavar="TIME", help="For running jobs when the server is stopped.")] = "10s",
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help=f"Holds the token to ask for; or set {TOKEN}.")
    ] = None,
    no_token: Annotated[bool, typer.Option("--no-token", help="Let everybody in who reaches another --host.")] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Under which a proxy is asked, like pictures.example.org.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Serve a web page and an HTTP API that enlarge pictures: pip install '.[serve]'.

    One worker process for two cores, two threads each: two threads make one picture nearly twice as fast, more gain
    less than a second picture at the same time. Stopped with Ctrl-C or SIGTERM, it loses no finished job.
    """
    with usage():
        token = _token(token_file)
        if host not in LOOPBACK and token is None and not no_token:
            raise InputError(
                f"--host is {host}, which others reach, and there is no token; set {TOKEN} or --token-file, or add "
                "--no-token to let everybody in"
            )
        if not 0 < keep <= LONGEST_KEEP:
            raise InputError(f"--keep is {keep:g}; it must be a number of hours above 0, {LONGEST_KEEP} at most")
        if memory is not None and not LEAST_MEMORY <= memory < float("inf"):
            raise InputError(f"--memory is {memory:g}; a worker needs a number of GB, at least {LEAST_MEMORY}")
        limit = seconds("--time-limit", time_limit)
        if not limit > 0:
            raise InputError(f"--time-limit is {time_limit}; a picture needs more, like 90s or 10m")
        _require_extra()
        from mzsr.learning.devices import cores, pick_device
        from mzsr.service import listen
        from mzsr.service import settings as bounds
        from mzsr.service.api import create
        from mzsr.service.guard import hostname
        from mzsr.service.store import Store

        pick_device(device)
        names = [hostname(name) for name in allow_host or []]
        for name, said in zip(names, allow_host or [], strict=True):
            if not name or "/" in said:
                raise InputError(f"--allow-host is '{said}'; the name of a host is required, without https://")
        shown = names[0] if names and host in EVERYWHERE else host
        here = f"[{shown}]" if ":" in shown else shown
        hosts = frozenset({*LOOPBACK, *names, hostname(here)}) if names or host in LOOPBACK else None
        workers, threads = bounds.share_of_cores(workers, threads, cores())
        os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(threads)  # of the workers to come
        chosen = bounds.Settings(
            data=(data or _data_folder()).absolute(),
            models=tuple(model or ()),
            workers=workers,
            threads=threads,
            queue=queue,
            max_bytes=millions("--max-bytes", max_bytes),
            max_pixels=millions("--max-pixels", max_pixels),
            seconds=limit,
            memory=bounds.share_of_memory(memory, workers),
            keep=3600.0 * keep,
            grace=seconds("--grace", grace),
            token=token,
            hosts=hosts,
            device=device,
        )
        app = create(chosen)
        with _door(host, port) as door, listen.locked(chosen.data):
            Store(chosen.data).close()  # a folder that cannot be used is refused in one line, and not by uvicorn
            # Uploads that come in and large results that workers make, in files without a name, lie nowhere else
            tempfile.tempdir = os.environ["TMPDIR"] = str(chosen.data / "incoming")
            address = f"{here}:{door.getsockname()[1]}"
            what = f"{several(workers, 'worker')} of {several(threads, 'thread')}"
            listen.serve(app, door, lambda: echo(f"mzsr: http://{address} — {what}", err=True))


def _require_extra() -> None:
    for name in ("fastapi", "pebble", "prometheus_client", "python_multipart", "uvicorn"):
        if find_spec(name) is None:
            raise InputError(f"{name} is not installed, which serving needs; pip install '.[serve]'")


def _token(file: Path | None) -> str | None:
    token = os.environ.get(TOKEN)
    where = TOKEN
    if file is not None:
        try:
            token, where = file.read_text("utf-8").strip(), str(file)
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise InputError(f"--token-file {file} cannot be read ({why}); a line of text is required") from error
    if token is not None and not (len(token) >= SHORTEST_TOKEN and re.fullmatch("[!-~]+", token)):
        raise InputError(
            f"the token in {where} has {len(token)} characters; one line of at least {SHORTEST_TOKEN} of ASCII without "
            "spaces is required — openssl rand -hex 24 makes a good one"
        )
    return token


def _data_folder() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "mzsr"


def _door(host: str, port: int) -> socket.socket:
    """Take the port before any worker starts: nobody else can listen there from now on."""
    with ExitStack() as opened:
        try:
            kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            door = opened.enter_context(socket.socket(kind))
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(address)
            door.listen()
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", error)
            raise InputError(
                f"{host} port {port} cannot be listened on ({why}); it may be taken — choose another with --port"
            ) from error
        opened.pop_all()
    return door
